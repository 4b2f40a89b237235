/**
 * What the walk from a table's address knows of each register at one place of the code.
 *
 * T, E, C: which bytes of it may come from the table's address, from an entry, from their sum; D: from anything
 * computed from those. One element each for the registers and one for the flags. Of T and E it is also known where
 * they must come from, while that is certain: E from the register that it was read through, T and E from one of the
 * instructions that make the address, as long as the code goes straight on from it.
 */
import type { MemoryOperand } from '../x86/operations.ts';
import { GPRS, HALF, NONE, WHOLE } from '../x86/registers.ts';

/**
 * Of a register: four bits of T, four of E, four of C, four of D, five with the register that E was read through, and
 * one, ten with the number of the instruction. Bit 31 stays free, as JavaScript's bits have signs.
 */
export type State = Uint32Array;
const E_SHIFT = 4;
const C_SHIFT = 8;
const D_SHIFT = 12;
const BASE_SHIFT = 16;
const BASE = 31 << BASE_SHIFT;
const MAKER_SHIFT = 21;
export const MOST_MAKERS = 1023;
const TAINT = 0xffff;
export const T_WHOLE = WHOLE;
const E_WHOLE = WHOLE << E_SHIFT;
const E_HALF = HALF << E_SHIFT;
export const C_WHOLE = WHOLE << C_SHIFT;
const PART_IN_ALL = 0x1111;
/** The flags that come from any of them: RflagsBits, of which those that instructions test fit 16 bits. */
export const FLAGS = GPRS;

export const newState = (): State => new Uint32Array(GPRS + 1);

export const tainted = (state: State, register: number): number => (state[register] ?? 0) & TAINT;

/** The parts of a register that come from what is followed, in whichever way. */
export function partsIn(state: State, register: number): number {
  const value = state[register] ?? 0;
  return (value | (value >>> E_SHIFT) | (value >>> C_SHIFT) | (value >>> D_SHIFT)) & WHOLE;
}

/** The lowest of the parts and all above it. */
export const upFrom = (parts: number): number => WHOLE & ~((parts & -parts) - 1);

/** The parts that are zero in a mask. */
export function zeroParts(mask: number): number {
  const low = mask | 0;
  return (
    ((low & 0xff) === 0 ? 1 : 0) |
    ((low & 0xff00) === 0 ? 2 : 0) |
    (low >>> 16 === 0 ? 4 : 0) |
    (mask >= 0 ? 8 : 0)
  );
}

/** T and the E that was read through that register, or that must be of the same table, make a C. */
export function sum(state: State, a: number, b: number): number | undefined {
  return isSum(state, a, b) || isSum(state, b, a) ? C_WHOLE : undefined;
}

function isSum(state: State, address: number, entry: number): boolean {
  const left = state[address] ?? 0;
  const right = state[entry] ?? 0;
  if ((left & TAINT) !== T_WHOLE || (right & TAINT) !== E_WHOLE) return false;
  return isThrough(right, address) || (makerOf(left) !== 0 && makerOf(right) !== 0);
}

/** @param maker number of the instruction, from 1. */
export const addressFrom = (maker: number): number => T_WHOLE | (maker << MAKER_SHIFT);

/** An entry that was kept elsewhere. */
export const entryFrom = (maker: number): number => E_WHOLE | (maker << MAKER_SHIFT);

/** The instruction that an entry must come from; 0: it may be none of the table. */
export const entryMaker = (value: number): number => ((value & TAINT) === E_WHOLE ? makerOf(value) : 0);

/** The instruction that a value must come from; 0: not known. */
export const makerOf = (value: number): number => value >>> MAKER_SHIFT;

/** An entry that was read through a register; `to` gets it, or its lower half does. */
export function entryThrough(state: State, base: number, to: number, parts: number): number {
  const maker = makerOf(state[base] ?? 0) << MAKER_SHIFT;
  const entry = (parts << E_SHIFT) | maker;
  return base === to ? entry : entry | ((base + 1) << BASE_SHIFT);
}

/** What `to` gets when the lower half of a register is extended: undefined where that is no entry. */
export function extendedEntry(state: State, register: number, to: number): number | undefined {
  const value = state[register] ?? 0;
  if ((value & TAINT) !== E_HALF) return undefined;
  const extended = (value & ~TAINT) | E_WHOLE;
  return isThrough(extended, to) ? extended & ~BASE : extended;
}

const isThrough = (value: number, register: number): boolean =>
  (value & BASE) >>> BASE_SHIFT === register + 1;

/** The register with the table's address that an operand reads an entry through; undefined: it is none of these. */
export function entryBase(
  { base, index, scale, displacement }: MemoryOperand,
  state: State,
): number | undefined {
  if (displacement !== 0) return undefined;
  const isAddress = (register: number): boolean => register !== NONE && tainted(state, register) === T_WHOLE;
  const found = isAddress(base) ? base : scale === 1 && isAddress(index) ? index : NONE;
  // The index must have nothing to do with the address.
  const other = found === base ? index : base;
  return found !== NONE && (other === NONE || tainted(state, other) === 0) ? found : undefined;
}

/** Parts of a register now come from something computed. */
export function derive(state: State, register: number, parts: number): void {
  state[register] = (state[register] ?? 0) | (parts << D_SHIFT);
}

/** Some parts of a register get another value; entries that were read through it can no more be added to it. */
export function write(state: State, register: number, parts: number): void {
  state[register] = (state[register] ?? 0) & TAINT & ~(parts * PART_IN_ALL);
  for (let i = 0; i < GPRS; i++) {
    const value = state[i] ?? 0;
    if (isThrough(value, register)) state[i] = value & ~BASE;
  }
}

/** These flags get another value, or one that comes from what is followed. */
export function setFlags(state: State, flags: number, isDerived: boolean): void {
  const others = (state[FLAGS] ?? 0) & ~flags;
  state[FLAGS] = isDerived ? others | flags : others;
}

/** The whole register gets another value. */
export function forget(state: State, register: number): void {
  write(state, register, WHOLE);
}

/** Nothing of what is followed is left. */
export function isClean(state: State): boolean {
  for (const value of state) if ((value & TAINT) !== 0) return false;
  return true;
}

/** The state as it is kept for a place that control may come to from elsewhere too. */
export const settled = (state: State): State => state.map((value) => value & (TAINT | BASE));

/** Adds what may also be; false where nothing is new. */
export function joinInto(known: State, state: State): boolean {
  let changed = false;
  for (let i = 0; i < known.length; i++) {
    const a = known[i] ?? 0;
    const b = state[i] ?? 0;
    const base = (a & BASE) === (b & BASE) ? a & BASE : 0;
    const joined = ((a | b) & TAINT) | base;
    if (joined === a) continue;
    known[i] = joined;
    changed = true;
  }
  return changed;
}
