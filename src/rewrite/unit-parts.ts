/**
 * Which units are one function: compilers move unlikely code (`foo.cold`) away from the rest, with an FDE of
 * its own, and both jump into each other's middle. No other function is entered there. And long functions are cut.
 */
import type { Rva } from '../base/brands.ts';
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { type CodeReferences, type ModuleAnalysis, REFERENCE_BRANCH, type Unit } from './model.ts';
import { RangeIndex } from './pieces.ts';

const CALL = 0xe8;

/** The parts of the function that a unit belongs to, in their order; the unit alone where it was not cut. */
export function functionOf({ units }: Pick<ModuleAnalysis, 'units'>, unit: Unit): readonly Unit[] {
  const index = indexOf(units).indexOf(unit.start);
  let first = index;
  while (units[first]?.kind === 'part') first--;
  let end = index + 1;
  while (units[end]?.kind === 'part') end++;
  return units.slice(first, end);
}

const indexes = new WeakMap<readonly Unit[], RangeIndex<Unit>>();

/** Finds units by address. */
export function indexOf(units: readonly Unit[]): RangeIndex<Unit> {
  const index = indexes.get(units) ?? new RangeIndex(units);
  indexes.set(units, index);
  return index;
}

/** All code of a function that was cut. */
export function rangeOf(parts: readonly Unit[]): Pick<Unit, 'start' | 'end' | 'entries'> {
  const [first] = parts;
  const last = parts.at(-1);
  if (first === undefined || last === undefined) throw new RangeError('a function without parts');
  return { start: first.start, end: last.end, entries: parts.flatMap(({ entries }) => entries) };
}

export interface UnitParts {
  /** Whether an address lies in the unit or in one that is part of the same function. */
  inside(unit: Unit): (at: number) => boolean;
  /** The same for units that belong together. */
  insideAll(units: readonly Unit[]): (at: number) => boolean;
  /** Whether no other unit is part of the same function. */
  areAlone(units: readonly Unit[]): boolean;
  /** The other parts of the unit's function, ascending. */
  partsOf(unit: Unit): readonly Unit[];
}

/** Nothing is looked for before somebody asks: large libraries have hundreds of thousands of branches. */
export function findUnitParts(image: ElfImage, { units, references }: ModuleAnalysis): UnitParts {
  const index = indexOf(units);
  let links: ReadonlyMap<number, ReadonlySet<number>> | undefined;
  const partsOf = (unit: Unit): readonly Unit[] => {
    links ??= linkedUnits(image, index, references);
    const found = [...(links.get(index.indexOf(unit.start)) ?? [])].sort((a, b) => a - b);
    return found.flatMap((i) => units[i] ?? []);
  };
  const inside = (unit: Unit): ((at: number) => boolean) => {
    let others: readonly Unit[] | undefined;
    return (at) => {
      if (at >= unit.start && at < unit.end) return true;
      others ??= partsOf(unit);
      return others.some(({ start, end }) => at >= start && at < end);
    };
  };
  const insideAll = (all: readonly Unit[]): ((at: number) => boolean) => {
    let known: RangeIndex<Unit> | undefined;
    return (at) => {
      // Tables ask for many addresses, and a function may have a thousand parts.
      known ??= new RangeIndex(
        [...new Set(all.flatMap((unit) => [unit, ...partsOf(unit)]))].toSorted((a, b) => a.start - b.start),
      );
      return known.indexOf(at) >= 0;
    };
  };
  const areAlone = (all: readonly Unit[]): boolean =>
    all.every((unit) => partsOf(unit).every((part) => all.includes(part)));
  return { inside, insideAll, areAlone, partsOf };
}

/** Units by number that jump into each other's middle, or to a part. */
function linkedUnits(
  image: ElfImage,
  index: RangeIndex<Unit>,
  { field, target, kind }: CodeReferences,
): ReadonlyMap<number, ReadonlySet<number>> {
  const linked = new Map<number, Set<number>>();
  const link = (from: number, to: number): void => {
    const known = linked.get(from);
    if (known === undefined) linked.set(from, new Set([to]));
    else known.add(to);
  };
  for (let i = 0; i < field.length; i++) {
    if (kind[i] !== REFERENCE_BRANCH) continue;
    const to = index.indexOf(target[i] ?? 0);
    const unit = index.ranges[to];
    const isFunction = unit?.start === target[i] && unit?.kind !== 'part';
    if (isFunction || isCall(image, rva(field[i] ?? 0))) continue;
    const from = index.indexOf(field[i] ?? 0);
    link(from, to);
    link(to, from);
  }
  return linked;
}

/** Whether the 4-byte field of a branch is a call's. */
function isCall(image: ElfImage, field: Rva): boolean {
  const offset = image.offsetOf(field);
  return offset !== undefined && image.bytes[offset - 1] === CALL;
}
