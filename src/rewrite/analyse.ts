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
import type { Kept, ModuleAnalysis, Unit } from './model.ts';

export { findUnitParts } from './unit-parts.ts';

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
export function unitAt({ units }: Pick<ModuleAnalysis, 'units'>, at: number): Unit | undefined {
  let low = 0;
  let high = units.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((units[middle]?.start ?? 0) <= at) low = middle + 1;
    else high = middle;
  }
  const unit = units[low - 1];
  return unit !== undefined && at < unit.end ? unit : undefined;
}

/** Where a recorder waits for units to be entered, ascending; each is the start of an instruction. */
export const breakpointsOf = ({ breakpoints }: Pick<ModuleAnalysis, 'breakpoints'>): Rva[] =>
  Array.from(breakpoints, rva);
