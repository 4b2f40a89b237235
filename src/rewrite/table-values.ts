/**
 * What the walk from a table's address knows of each register at one place of the code.
 *
 * T, E, C: which bytes of it may come from the table's address, from an entry, from their sum; D: from anything
 * computed from those. One element each for the registers and one for the flags.
 */
import { GPRS, WHOLE } from '../x86/registers.ts';

/** Of a register: four bits of T, four of E, four of C, four of D, then the register that E was read through, and one. */
export type State = Uint32Array;
const E_SHIFT = 4;
const C_SHIFT = 8;
const D_SHIFT = 12;
const BASE_SHIFT = 16;
const TAINT = 0xffff;
export const T_WHOLE = WHOLE;
const E_WHOLE = WHOLE << E_SHIFT;
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

/** T and the E that was read through that register make a C. */
export function sum(state: State, a: number, b: number): number | undefined {
  const left = state[a] ?? 0;
  const right = state[b] ?? 0;
  if ((left & TAINT) === T_WHOLE && right === (E_WHOLE | ((a + 1) << BASE_SHIFT))) return C_WHOLE;
  if ((right & TAINT) === T_WHOLE && left === (E_WHOLE | ((b + 1) << BASE_SHIFT))) return C_WHOLE;
  return undefined;
}

/** An entry that was read through a register; `to` gets it. */
export const entryThrough = (base: number, to: number): number =>
  base === to ? E_WHOLE : E_WHOLE | ((base + 1) << BASE_SHIFT);

/** Parts of a register now come from something computed. */
export function derive(state: State, register: number, parts: number): void {
  state[register] = (state[register] ?? 0) | (parts << D_SHIFT);
}

/** Some parts of a register get another value; entries that were read through it can no more be added to it. */
export function write(state: State, register: number, parts: number): void {
  state[register] = (state[register] ?? 0) & TAINT & ~(parts * PART_IN_ALL);
  for (let i = 0; i < GPRS; i++) {
    const value = state[i] ?? 0;
    if (value >>> BASE_SHIFT === register + 1) state[i] = value & TAINT;
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

/** Adds what may also be; false where nothing is new. */
export function joinInto(known: State, state: State): boolean {
  let changed = false;
  for (let i = 0; i < known.length; i++) {
    const a = known[i] ?? 0;
    const b = state[i] ?? 0;
    const base = a >>> BASE_SHIFT === b >>> BASE_SHIFT ? (a >>> BASE_SHIFT) << BASE_SHIFT : 0;
    const joined = ((a | b) & TAINT) | base;
    if (joined === a) continue;
    known[i] = joined;
    changed = true;
  }
  return changed;
}
