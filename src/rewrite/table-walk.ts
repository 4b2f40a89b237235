/** What a walk from a table's address is given, and what it tells. */
import type { Operation } from '../x86/operations.ts';
import type { StackSlot } from './stack-slots.ts';

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
  /** Whether control always comes to `to` from `from`, going straight on; `from` is lower. */
  isStraight(from: number, to: number): boolean;
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
  /** Straight on from each maker, without a call, there is a jump through an entry. */
  readonly isSure: boolean;
  /** The stores of `slot` that put nothing there but an entry. */
  readonly kept: ReadonlySet<Operation>;
  /** The makers, from 1, whose very value is read through or added, straight on from them. */
  readonly used: ReadonlySet<number>;
}

export interface Misuse {
  readonly at: number;
  readonly reason: string;
}

export interface TableAddress {
  /** The instructions that make the address, or name it and read an entry. */
  readonly makers: readonly Operation[];
  readonly kind: 'relative' | 'absolute';
  /** Where an entry is kept on the stack: whatever is loaded from there is what these stores put there. */
  readonly slot: StackSlot | undefined;
  /** Where the entries lead, as far as they are followed. */
  readonly targets: readonly number[];
}

/** What else may be done with the address. */
export const OTHER_USE = {
  stored: 'the address of a jump table is stored',
  misused: 'the address of a jump table is used otherwise',
  compared: 'the address of a jump table is compared',
  undecoded: 'the address of a jump table comes to what does not decode',
} as const;
