/** What a module's code is, and questions about it. */
import { type Rva, rva } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { HIGHEST_ADDRESS } from './code-map.ts';
import { collectReferences } from './collect-references.ts';
import { findBreakpoints } from './find-breakpoints.ts';
import { findUnits } from './find-units.ts';
import { hasManagedCode } from './managed-code.ts';
import type { BreakpointPlaces, CodeReferences, Kept, ModuleAnalysis, Unit } from './model.ts';
import { indexOf } from './unit-parts.ts';

export { findUnitParts, functionOf, rangeOf } from './unit-parts.ts';

const keep = (reason: string): Kept => ({ kind: 'kept', reason });

/** `kept` where the module as a whole cannot be rewritten; damaged tables are such a reason, with their code. */
export function analyseModule(image: ElfImage): ModuleAnalysis | Kept {
  const { type } = image.header;
  if (type !== spec.ET_DYN && type !== spec.ET_EXEC) return keep('neither program nor library');
  const loads = image.segments.filter((segment) => segment.type === spec.PT_LOAD);
  if (loads.some(({ rva, memSize }) => rva + memSize > HIGHEST_ADDRESS)) return keep('addresses above 4 GiB');
  try {
    if (hasManagedCode(image)) return keep('a runtime that knows its code by address');
    const found = findUnits(image);
    const { units, code, kept } = found;
    return {
      units,
      references: collectReferences(found),
      breakpoints: findBreakpoints(found),
      kept,
      textBytes: code.size,
    };
  } catch (error) {
    if (error instanceof WinnowError) return keep(`damaged: ${error.code}`);
    throw error;
  }
}

/** The unit that holds an address. */
export const unitAt = ({ units }: Pick<ModuleAnalysis, 'units'>, at: number): Unit | undefined =>
  indexOf(units).find(at);

/** The rows of the references whose fields stand in a unit. */
export function* rowsOf({ field }: CodeReferences, { start, end }: Unit): Generator<number> {
  let low = 0;
  let high = field.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((field[middle] ?? 0) >= start) high = middle;
    else low = middle + 1;
  }
  for (let row = low; (field[row] ?? end) < end; row++) yield row;
}

/** The breakpoints, in memory of their own. */
export function breakpointPlaces({
  units,
  breakpoints,
}: Pick<ModuleAnalysis, 'units' | 'breakpoints'>): BreakpointPlaces {
  const follows = new Uint8Array(breakpoints.length);
  let index = 0;
  for (const [i, at] of breakpoints.entries()) {
    while ((units[index]?.end ?? Number.POSITIVE_INFINITY) <= at) index++;
    const unit = units[index];
    if (unit?.kind === 'part' && (breakpoints[i - 1] ?? -1) >= unit.start) follows[i] = 1;
  }
  return { at: breakpoints.slice(), follows };
}

/** Where a recorder waits for units to be entered, ascending; each is the start of an instruction. */
export const breakpointsOf = ({ breakpoints }: Pick<ModuleAnalysis, 'breakpoints'>): Rva[] =>
  Array.from(breakpoints, rva);
