/**
 * Follows the address of a jump table from the instruction that makes it to the jumps that it serves.
 *
 * Problem: a copy of a function shall go through a copy of its table. Then whatever sees the copy's address
 * must only use it to jump; one comparison or one addition more, and the copy would differ from the original.
 * Example: `lea T,%rdx; movslq (%rdx,%rax,4),%rax; add %rdx,%rax; jmp *%rax`, where the lea may stand far
 * away, before a loop, or once for several jumps.
 * Method: one walk over the control flow graph for each lea. Of every register it is known which of its bytes may
 * come from the table's address (T), from an entry read through it (E), from the sum of both (C), or be computed from
 * any of these (D). T may be copied; it may be the base of a movslq, which makes an E that remembers the register; E
 * may be added to that very register as long as nothing has written it, which makes a C; C may be jumped through.
 * Whatever else registers and flags are computed from them is D. Anything else that reads one of them is another
 * use: a branch on such a flag, an address in memory, a call. Old values that nothing reads do no harm, so no liveness
 * is needed: a stale upper half that a `sete %dl` leaves in %rdx may be copied and masked away. As each walk takes
 * all ways from its lea, it does not matter which other leas meet it: where its values are not, nothing has changed.
 * Stores: compilers store registers whose value does not matter (LLVM: fields of an enum's other variant). So they
 * are told apart from other uses. Where the code goes straight on from the lea to a jump through an entry, the lea
 * is certain to be a jump table's, whose address compilers make for jumps alone; what is stored is then either
 * such a stale value or the address for a later jump.
 * Limits: memory and vector registers are not followed. A call of the same module leaves all but rax and rdx as it
 * was, as GCC keeps values in any register that a local function is known not to touch; what a call reads
 * itself is taken to be arguments, of which a table's address is none.
 */
import type { Operation } from '../x86/operations.ts';
import { CALLER_SAVED, NONE, RESULTS, WHOLE } from '../x86/registers.ts';
import {
  C_WHOLE,
  derive,
  entryThrough,
  FLAGS,
  forget,
  isClean,
  joinInto,
  newState,
  partsIn,
  type State,
  setFlags,
  sum,
  T_WHOLE,
  tainted,
  upFrom,
  write,
  zeroParts,
} from './table-values.ts';

/** What of the code the walk needs. */
export interface WalkedCode {
  at(address: number): Operation | undefined;
  inside(address: number): boolean;
  /** A place in the middle, which is called like a function only by hand-written code. */
  isLocal(address: number): boolean;
  /** Whether it is the PLT's: such calls keep to the psABI. */
  isForeign(target: number): boolean;
  /** False for a call that is known not to. */
  returns(call: Operation['insn']): boolean;
  /** Where it goes on if this instruction throws. */
  padOf(address: number): number | undefined;
  /** Where another indirect jump leads, as far as that is known. */
  targetsOf(jump: number): Iterable<number>;
}

export interface Walk {
  /** The indirect jumps through an entry of the table. */
  readonly dispatches: ReadonlySet<number>;
  /** Indirect jumps on the way whose targets were asked for. */
  readonly passed: ReadonlySet<number>;
  /** Addresses of the instructions that read an entry. */
  readonly loads: ReadonlySet<number>;
  /** The first other use. */
  readonly misuse: Misuse | undefined;
  /** The first place where a value is put where it is not followed. */
  readonly stored: Misuse | undefined;
  /** Straight on from the beginning, without a call, there is a jump through an entry. */
  readonly isSure: boolean;
}

export interface Misuse {
  readonly at: number;
  readonly reason: string;
}

export interface TableAddress {
  /** The instruction that makes the address, or one that names it and reads an entry. */
  readonly origin: Operation;
  readonly kind: 'relative' | 'absolute';
  /** Where the entries lead. */
  readonly targets: readonly number[];
}

export function walkFrom(code: WalkedCode, table: TableAddress): Walk {
  return new Walker(code, table).run();
}

class Walker {
  readonly #code: WalkedCode;
  readonly #table: TableAddress;
  readonly #states = new Map<number, State>();
  readonly #work: number[] = [];
  readonly #queued = new Set<number>();
  readonly #dispatches = new Set<number>();
  readonly #passed = new Set<number>();
  readonly #loads = new Set<number>();
  #misuse: Misuse | undefined;
  #stored: Misuse | undefined;
  #isSure = false;

  constructor(code: WalkedCode, table: TableAddress) {
    this.#code = code;
    this.#table = table;
  }

  run(): Walk {
    const { insn } = this.#table.origin;
    const state = newState();
    if (this.#begin(state)) {
      this.#isSure = true;
      this.#jump(insn.at, true, state);
    } else this.#isSure = this.#straight(insn.at + insn.length, state);
    for (let at = this.#work.pop(); at !== undefined; at = this.#work.pop()) {
      this.#queued.delete(at);
      const from = this.#states.get(at);
      if (from !== undefined) this.#straight(at, from.slice());
    }
    return {
      dispatches: this.#dispatches,
      passed: this.#passed,
      loads: this.#loads,
      misuse: this.#misuse,
      stored: this.#stored,
      isSure: this.#isSure,
    };
  }

  /** What the instruction at the beginning does; true for a jump. */
  #begin(state: State): boolean {
    const { kind, to, memory, insn } = this.#table.origin;
    if (memory !== undefined) this.#loads.add(insn.at);
    if (kind === 'jump') return true;
    write(state, to, WHOLE);
    state[to] = memory === undefined ? T_WHOLE : C_WHOLE;
    return false;
  }

  /** Control can come to `at` with these values. */
  #reach(at: number, state: State): void {
    if (isClean(state) || !this.#code.inside(at)) return;
    const known = this.#states.get(at);
    if (known === undefined) this.#states.set(at, state.slice());
    else if (!joinInto(known, state)) return;
    if (this.#queued.has(at)) return;
    this.#queued.add(at);
    this.#work.push(at);
  }

  /**
   * Goes along from `first` until control leaves, meets a place that was reached before, or nothing is left.
   * @returns whether it came to a jump through an entry without a call.
   */
  #straight(first: number, state: State): boolean {
    let calls = 0;
    for (let at = first; this.#code.inside(at) && !isClean(state); ) {
      if (at !== first && this.#states.has(at)) {
        this.#reach(at, state);
        break;
      }
      const operation = this.#code.at(at);
      if (operation === undefined) {
        this.#misuse ??= { at, reason: 'the address of a jump table comes to what does not decode' };
        break;
      }
      const { insn } = operation;
      const { flow, target } = insn;
      this.#throwTo(insn.at, state);
      const isDispatch = this.#apply(operation, state);
      if (flow === 'indirect-jump') {
        this.#jump(insn.at, isDispatch, state);
        return isDispatch && calls === 0;
      }
      if (flow === 'jump' || flow === 'conditional') this.#reach(target, state);
      if (flow === 'call' || flow === 'indirect-call') {
        calls++;
        this.#call(insn, state);
      }
      const goesOn = flow !== 'call' || this.#code.returns(insn);
      if (flow === 'jump' || flow === 'return' || flow === 'stop' || !goesOn) break;
      at += insn.length;
    }
    return false;
  }

  #call({ at, flow, target }: Operation['insn'], state: State): void {
    if (flow === 'call' && this.#code.isLocal(target)) this.#reach(target, state);
    const lost = flow === 'call' && this.#code.isForeign(target) ? CALLER_SAVED : RESULTS;
    for (const register of lost) forget(state, register);
    state[FLAGS] = 0;
    this.#throwTo(at, state);
  }

  /** The unwinder puts the exception into rax and rdx. */
  #throwTo(at: number, state: State): void {
    const pad = this.#code.padOf(at);
    if (pad === undefined) return;
    const there = state.slice();
    for (const register of RESULTS) forget(there, register);
    there[FLAGS] = 0;
    this.#reach(pad, there);
  }

  #jump(at: number, isDispatch: boolean, state: State): void {
    if (isDispatch) {
      this.#dispatches.add(at);
      for (const target of this.#table.targets) this.#reach(target, state);
    }
    if (isClean(state)) return;
    // A jump that several tables share may go through another's entry while this one's address lives on.
    this.#passed.add(at);
    for (const target of this.#code.targetsOf(at)) this.#reach(target, state);
  }

  /** Changes the values; true for the jump through an entry. */
  #apply(operation: Operation, state: State): boolean {
    const { insn, uses } = operation;
    // Back where the walk began, perhaps with an old value.
    if (insn.at === this.#table.origin.insn.at) {
      this.#derived(operation, state);
      return this.#begin(state);
    }
    if ((operation.readsFlags & (state[FLAGS] ?? 0)) !== 0)
      this.#misuse ??= { at: insn.at, reason: MISUSED_FLAGS };
    if (!uses.some(({ register }) => tainted(state, register) !== 0)) {
      if (!operation.mayKeepFlags) setFlags(state, operation.setsFlags, false);
      return false;
    }
    const isDispatch = this.#jumpsThroughEntry(operation, state);
    const value = isDispatch ? undefined : this.#allowed(operation, state);
    const derived = isDispatch || value !== undefined ? 0 : this.#derived(operation, state);
    const isDerived = derived !== 0 || value !== undefined;
    if (isDerived || !operation.mayKeepFlags) setFlags(state, operation.setsFlags, isDerived);
    for (const { register, writes } of uses) {
      if (writes === 0) continue;
      write(state, register, writes);
      derive(state, register, derived & writes);
    }
    if (value !== undefined && operation.to !== NONE) state[operation.to] = value;
    return isDispatch;
  }

  /** The parts of results that come from what is followed, in an instruction that is no form of a jump. */
  #derived(operation: Operation, state: State): number {
    const { uses, mixing, memory, kind, immediate } = operation;
    let parts = 0;
    for (const { register, reads } of uses) parts |= partsIn(state, register) & reads;
    if (parts === 0) return 0;
    const isAddress = (register: number): boolean => register !== NONE && tainted(state, register) !== 0;
    const reachesMemory =
      kind !== 'lea' && memory !== undefined && (isAddress(memory.base) || isAddress(memory.index));
    const { at } = operation.insn;
    if (mixing === undefined || reachesMemory) {
      if (operation.stores && !reachesMemory) this.#stored ??= { at, reason: STORED };
      else this.#misuse ??= { at, reason: MISUSED };
      return 0;
    }
    if (mixing === 'all') return WHOLE;
    if (mixing === 'up') return upFrom(parts);
    return kind === 'and' && immediate !== undefined ? parts & ~zeroParts(immediate) : parts;
  }

  #jumpsThroughEntry(operation: Operation, state: State): boolean {
    const { kind, source, memory } = operation;
    if (kind !== 'jump') return false;
    if (source !== NONE) return tainted(state, source) === C_WHOLE;
    if (memory === undefined || !this.#readsEntry(operation, state)) return false;
    this.#loads.add(operation.insn.at);
    return true;
  }

  /** The value of `to` after one of the forms that keep to jumping; undefined for everything else. */
  #allowed(operation: Operation, state: State): number | undefined {
    const { kind, source, memory, to, insn } = operation;
    if (kind === 'move' && source !== NONE) return state[source] ?? 0;
    const { kind: entries } = this.#table;
    if (memory !== undefined && kind === (entries === 'relative' ? 'extend' : 'move')) {
      if (!this.#readsEntry(operation, state)) return undefined;
      this.#loads.add(insn.at);
      const base = this.#baseOf(memory, state);
      if (entries === 'absolute') return C_WHOLE;
      return entryThrough(base, to);
    }
    if (kind === 'add' && source !== NONE) return sum(state, to, source);
    if (kind === 'lea' && memory !== undefined) {
      const { base, index, scale, displacement } = memory;
      if (scale === 1 && displacement === 0 && index !== NONE) return sum(state, base, index);
    }
    return undefined;
  }

  /** Through the table's address, and with an index that has nothing to do with it. */
  #readsEntry({ memory }: Operation, state: State): boolean {
    if (memory === undefined || memory.displacement !== 0) return false;
    const base = this.#baseOf(memory, state);
    const other = base === memory.base ? memory.index : memory.base;
    return base !== NONE && (other === NONE || tainted(state, other) === 0);
  }

  #baseOf({ base, index, scale }: NonNullable<Operation['memory']>, state: State): number {
    if (base !== NONE && tainted(state, base) === T_WHOLE) return base;
    return index !== NONE && scale === 1 && tainted(state, index) === T_WHOLE ? index : NONE;
  }
}

const STORED = 'the address of a jump table is stored';
const MISUSED = 'the address of a jump table is used otherwise';
const MISUSED_FLAGS = 'the address of a jump table is compared';
