/** Which modules can be rewritten at all, and which of the units that are asked for can be copied. */
import type { Rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import {
  DF_TEXTREL,
  DT_FLAGS,
  DT_TEXTREL,
  ET_DYN,
  ET_EXEC,
  PF_W,
  PF_X,
  PN_XNUM,
  PT_LOAD,
} from '../elf/spec.ts';
import { unitAt } from './analyse.ts';
import { CodeFields, readCodeFields } from './code-fields.ts';
import type { CloneMap, Kept, ModuleAnalysis, Unit } from './model.ts';
import { eachRela, pointsFromSymbol } from './relocation-records.ts';
import { functionOf } from './unit-parts.ts';

/** Fields of 32 bits reach this far. Room for what is added is left. */
const MOST_ADDRESS = 0x7000_0000;

/** Why the module stays as it is, or undefined. */
export function whyModuleStays(image: ElfImage): string | undefined {
  const { type, segmentCount } = image.header;
  if (type !== ET_DYN && type !== ET_EXEC) return 'neither a program nor a shared library';
  const loads = image.segments.filter((segment) => segment.type === PT_LOAD);
  const code = loads.filter(({ flags }) => (flags & PF_X) !== 0);
  if (code.length === 0) return 'it has no code';
  if (code.some(({ flags }) => (flags & PF_W) !== 0)) return 'its code can be written';
  if (segmentCount + 2 >= PN_XNUM) return 'it has too many segments';
  if (loads.some(({ rva }, i) => rva < (loads[i - 1]?.rva ?? 0))) return 'its segments do not ascend';
  if (loads.some(({ rva, memSize }) => rva + memSize > MOST_ADDRESS)) return 'it reaches above 2 GiB';
  const hasTextRelocations =
    image.dynamic.value(DT_TEXTREL) !== undefined ||
    ((image.dynamic.value(DT_FLAGS) ?? 0) & DF_TEXTREL) !== 0;
  return hasTextRelocations ? 'relocations change its code' : undefined;
}

export interface ChosenUnits {
  /** In the order that was asked for; parts of a function stand together, in their own order. */
  readonly units: readonly Unit[];
  /** Their fields, and of each unit the first row and the row behind the last. */
  readonly fields: CodeFields;
  readonly rows: ReadonlyMap<Unit, readonly [number, number]>;
  /** Of each unit: what its copy's address has in common with its own, modulo that. */
  readonly phases: ReadonlyMap<Unit, number>;
  readonly kept: readonly Kept[];
}

/** @param hot starts of units; other addresses of code stand for the unit they are in. */
export function chooseUnits(
  image: ElfImage,
  analysis: ModuleAnalysis,
  hot: readonly Rva[],
  canonical: CloneMap['canonical'],
): ChosenUnits {
  const kept: Kept[] = [];
  const fields = new CodeFields();
  const rows = new Map<Unit, readonly [number, number]>();
  const phases = new Map<Unit, number>();
  const seen = new Set<Unit>();
  const tied = canonical === 'copy' ? unitsTiedBySymbols(image, analysis) : new Set<Unit>();
  for (const at of hot) {
    const unit = unitAt(analysis, at);
    if (unit === undefined) {
      kept.push({ kind: 'kept', reason: 'no unit of code is there', at });
      continue;
    }
    if (seen.has(unit)) continue;
    seen.add(unit);
    const first = fields.length;
    const known =
      unit.kept ?? (tied.has(unit) ? 'a relocation counts from its symbol to somewhere else' : undefined);
    const { refused, phase } =
      known === undefined ? readCodeFields(image, unit, canonical, fields) : { refused: known, phase: 0 };
    if (refused !== undefined) {
      kept.push({ kind: 'kept', reason: refused, at: unit.start });
      continue;
    }
    rows.set(unit, [first, fields.length]);
    phases.set(unit, phase);
  }
  return { units: withPartsTogether(analysis, [...rows.keys()]), fields, rows, phases, kept };
}

/** A function stands where the first of its parts was asked for. */
function withPartsTogether(analysis: ModuleAnalysis, units: readonly Unit[]): readonly Unit[] {
  const asked = new Set(units);
  const placed = new Set<Unit>();
  return units.flatMap((unit) => {
    if (placed.has(unit)) return [];
    const parts = functionOf(analysis, unit).filter((part) => asked.has(part));
    for (const part of parts) placed.add(part);
    return parts;
  });
}

/**
 * `.quad f + 100`, where f has 50 bytes: with f elsewhere, this would lead elsewhere too, and where another
 * library's f is taken, the addend must not have been changed.
 */
function unitsTiedBySymbols(image: ElfImage, analysis: ModuleAnalysis): ReadonlySet<Unit> {
  const tied = new Set<Unit>();
  eachRela(image, (relocation) => {
    const { addend, symbol } = relocation;
    if (addend === 0 || !pointsFromSymbol(relocation) || symbol?.movesWithCode !== true) return;
    const unit = unitAt(analysis, symbol.value);
    if (unit !== undefined && unit !== unitAt(analysis, symbol.value + addend)) tied.add(unit);
  });
  return tied;
}
