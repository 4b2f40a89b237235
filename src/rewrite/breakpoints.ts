/**
 * Where a recorder waits for units to be entered.
 *
 * Problem: unlikely code that the compiler moved away jumps back into the middle of its function, at as
 * many places as it left from: in PETSc 60,000 of them, a breakpoint and a trap each.
 * Example: foo jumps to foo.cold + 10, which jumps back to foo + 83. Whoever runs foo.cold has been in foo.
 * Method: a place in a unit's middle needs no breakpoint if only code leads there that itself is led to
 * from this unit alone.
 * Limits: unlikely code that is entered in another way too (by the unwinder) leads back unseen: the unit then counts
 * as not entered, and runs the original.
 */
import type { Rva } from '../base/brands.ts';
import { rva } from '../base/brands.ts';
import { type ModuleAnalysis, REFERENCE_BRANCH } from './model.ts';
import { RangeIndex } from './pieces.ts';

/** Where nothing leads to yet, and where several units do. */
const NOBODY = -1;
const SEVERAL = -2;

/**
 * Entries of units, ascending, each the start of an instruction. A PLT's stubs are left out: who uses them is
 * known from the callers. So is code without an FDE that stays: the program may copy it, breakpoints and all.
 */
export function breakpointsOf(analysis: Pick<ModuleAnalysis, 'units' | 'references'>): Rva[] {
  const { units } = analysis;
  const needed = neededMiddles(analysis);
  return units
    .filter(({ kind, kept }) => kind !== 'plt' && (kind !== 'fragment' || kept === undefined))
    .flatMap(({ start, entries }) => entries.filter((at) => at === start || needed(at)));
}

function neededMiddles({
  units,
  references,
}: Pick<ModuleAnalysis, 'units' | 'references'>): (at: Rva) => boolean {
  const index = new RangeIndex(units);
  const { field, target, kind } = references;
  // Fields ascend, and each stands in a unit.
  let unit = 0;
  const from = Int32Array.from(field, (at) => {
    while (unit + 1 < units.length && (units[unit + 1]?.start ?? 0) <= at) unit++;
    return unit;
  });
  const to = Int32Array.from(target, (at) => index.indexOf(at));
  // The only unit that leads into each.
  const owner = new Int32Array(units.length).fill(NOBODY);
  for (let i = 0; i < field.length; i++) {
    const unit = to[i] ?? 0;
    const source = kind[i] === REFERENCE_BRANCH ? (from[i] ?? 0) : SEVERAL;
    owner[unit] = owner[unit] === NOBODY || owner[unit] === source ? source : SEVERAL;
  }
  const needed = new Set<number>();
  const known = new Set<number>();
  for (let i = 0; i < field.length; i++) {
    const at = target[i] ?? 0;
    if (units[to[i] ?? 0]?.start === at) continue;
    known.add(at);
    if (kind[i] !== REFERENCE_BRANCH || owner[from[i] ?? 0] !== to[i]) needed.add(at);
  }
  // Entries that no reference explains come from symbols and relocations.
  return (at) => needed.has(at) || !known.has(rva(at));
}
