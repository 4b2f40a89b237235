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
 * Limits: memory other than one place of the stack, and vector registers are not followed. A call of the same module leaves all but rax and rdx as it
 * was, as GCC keeps values in any register that a local function is known not to touch; what a call reads
 * itself is taken to be arguments, of which a table's address is none.
 */
import type { MemoryOperand, Operation } from '../x86/operations.ts';
import { CALLER_SAVED, HALF, NONE, RESULTS, WHOLE } from '../x86/registers.ts';
import {
  addressFrom,
  C_WHOLE,
  derive,
  entryBase,
  entryFrom,
  entryMaker,
  entryThrough,
  extendedEntry,
  FLAGS,
  forget,
  isClean,
  joinInto,
  makerOf,
  newState,
  partsIn,
  type State,
  setFlags,
  settled,
  sum,
  tainted,
  upFrom,
  write,
  zeroParts,
} from './table-values.ts';
import { type Misuse, OTHER_USE, type TableAddress, type Walk, type WalkedCode } from './table-walk.ts';

export function walkFrom(code: WalkedCode, table: TableAddress): Walk {
  return new Walker(code, table).run();
}

class Walker {
  readonly #code: WalkedCode;
  readonly #table: TableAddress;
  readonly #states = new Map<number, State>();
  readonly #work: number[] = [];
  readonly #queued = new Set<number>();
  readonly #seen = {
    dispatches: new Set<number>(),
    passed: new Set<number>(),
    loads: new Set<number>(),
    kept: new Set<Operation>(),
    used: new Set<number>(),
  };
  #misuse: Misuse | undefined;
  #stored: Misuse | undefined;
  /** By number, from 1: what makes the address, and behind them what loads an entry from the stack. */
  readonly #makers: readonly Operation[];
  readonly #numbers: ReadonlyMap<number, number>;

  constructor(code: WalkedCode, table: TableAddress) {
    this.#code = code;
    this.#table = table;
    this.#makers = [...table.makers, ...(table.slot?.loads ?? [])];
    this.#numbers = new Map(this.#makers.map(({ insn }, i) => [insn.at, i + 1]));
  }

  run(): Walk {
    let isSure = true;
    let before: number | undefined;
    for (const maker of this.#makers.toSorted((a, b) => a.insn.at - b.insn.at)) {
      const { at, length } = maker.insn;
      // Behind another one it is met with that one's values, and never without.
      const isMet = before !== undefined && this.#code.isStraight(before, at);
      before = at;
      if (isMet) continue;
      const state = newState();
      if (this.#make(maker, state)) this.#jump(at, true, state);
      else if (!this.#straight(at + length, state)) isSure = false;
    }
    for (let at = this.#work.pop(); at !== undefined; at = this.#work.pop()) {
      this.#queued.delete(at);
      const from = this.#states.get(at);
      if (from !== undefined) this.#straight(at, from.slice());
    }
    return { ...this.#seen, misuse: this.#misuse, stored: this.#stored, isSure };
  }

  /** What a maker does; true for a jump. */
  #make({ kind, to, memory, insn }: Operation, state: State): boolean {
    const number = this.#numbers.get(insn.at) ?? 0;
    if (number > this.#table.makers.length) {
      write(state, to, WHOLE);
      state[to] = entryFrom(number);
      return false;
    }
    if (memory !== undefined) this.#seen.loads.add(insn.at);
    if (kind === 'jump') return true;
    write(state, to, WHOLE);
    state[to] = memory === undefined ? addressFrom(number) : C_WHOLE;
    return false;
  }

  /** Control can come to `at` with these values. */
  #reach(at: number, state: State): void {
    if (isClean(state) || !this.#code.inside(at)) return;
    const known = this.#states.get(at);
    if (known === undefined) this.#states.set(at, settled(state));
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
        this.#misuse ??= { at, reason: OTHER_USE.undecoded };
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
      this.#seen.dispatches.add(at);
      for (const target of this.#table.targets) this.#reach(target, state);
    }
    if (isClean(state)) return;
    // A jump that several tables share may go through another's entry while this one's address lives on.
    this.#seen.passed.add(at);
    for (const target of this.#code.targetsOf(at)) this.#reach(target, state);
  }

  /** Changes the values; true for the jump through an entry. */
  #apply(operation: Operation, state: State): boolean {
    const { insn, uses } = operation;
    if (this.#keeps(operation, state)) return false;
    if (this.#numbers.has(insn.at)) {
      this.#derived(operation, state);
      return this.#make(operation, state);
    }
    if ((operation.readsFlags & (state[FLAGS] ?? 0)) !== 0)
      this.#misuse ??= { at: insn.at, reason: OTHER_USE.compared };
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

  /** It puts an entry, and never anything else, where the slot is. */
  #keeps(operation: Operation, state: State): boolean {
    if (this.#table.slot?.stores.includes(operation) !== true) return false;
    const number = entryMaker(state[operation.source] ?? 0);
    const maker = this.#makers[number - 1];
    if (maker === undefined || !this.#code.isStraight(maker.insn.at, operation.insn.at)) return false;
    this.#seen.kept.add(operation);
    this.#seen.used.add(number);
    return true;
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
      if (operation.stores && !reachesMemory) this.#stored ??= { at, reason: OTHER_USE.stored };
      else this.#misuse ??= { at, reason: OTHER_USE.misused };
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
    const base = memory === undefined ? undefined : entryBase(memory, state);
    if (base === undefined) return false;
    this.#seen.used.add(makerOf(state[base] ?? 0));
    this.#seen.loads.add(operation.insn.at);
    return true;
  }

  /** The value of `to` after one of the forms that keep to jumping; undefined for everything else. */
  #allowed(operation: Operation, state: State): number | undefined {
    const { kind, source, memory, to } = operation;
    if (kind === 'move' && source !== NONE) return state[source] ?? 0;
    if (kind === 'extend' && source !== NONE) return extendedEntry(state, source, to);
    if (kind === 'add' && source !== NONE) return this.#sum(state, to, source);
    if (memory === undefined) return undefined;
    if (kind === 'lea') {
      const { base, index, scale, displacement } = memory;
      const isSum = scale === 1 && displacement === 0 && base !== NONE && index !== NONE;
      return isSum ? this.#sum(state, base, index) : undefined;
    }
    return this.#entryRead(operation, memory, state);
  }

  #entryRead({ kind, to, insn }: Operation, memory: MemoryOperand, state: State): number | undefined {
    const isRelative = this.#table.kind === 'relative';
    const isHalf = kind === 'move32' && memory.base !== NONE && memory.index !== NONE;
    const isEntry = isRelative ? kind === 'extend' || isHalf : kind === 'move';
    const base = isEntry ? entryBase(memory, state) : undefined;
    if (base === undefined) return undefined;
    this.#seen.loads.add(insn.at);
    this.#seen.used.add(makerOf(state[base] ?? 0));
    if (!isRelative) return C_WHOLE;
    return entryThrough(state, base, to, kind === 'extend' ? WHOLE : HALF);
  }

  #sum(state: State, a: number, b: number): number | undefined {
    const result = sum(state, a, b);
    if (result === undefined) return undefined;
    for (const register of [a, b]) this.#seen.used.add(makerOf(state[register] ?? 0));
    return result;
  }
}
