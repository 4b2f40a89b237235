/**
 * Which used units of a program at fixed addresses (ET_EXEC) are better left where they are.
 *
 * Problem: in ET_EXEC the address of a function stands as a plain number in code and data, where nobody can
 * tell it from any other number. So it stays the original's, and whoever calls through a pointer runs the original. A
 * copy of such a function costs room without saving the original's page.
 *
 * Example: Debian's python3.11 has tables of methods. Of 2,100 functions that `import numpy` enters, many are
 * called through these, and lie on 340 pages.
 *
 * Method: a used unit whose start occurs as a number, in 8 aligned bytes of data or in any 4 bytes of code, and
 * that no branch of a used unit leads to, must have been called through a pointer: the pages it lies on are
 * needed. Used units that lie on such pages altogether stay; what reaches over to other pages, and all else, is
 * copied.
 *
 * Limits: it is a guess in both directions, and either mistake costs a page and no more: a function that is called
 * both ways has a copy and goes on running the original too. Stubs of the PLT and start-up code are copied in any
 * case: they are small, and wanted beside their callers.
 */
import { PAGE_SIZE, rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import { ET_EXEC, PF_X, PT_LOAD } from '../elf/spec.ts';
import { rowsOf } from '../rewrite/analyse.ts';
import {
  type CodeReferences,
  type ModuleAnalysis,
  type PageRun,
  REFERENCE_BRANCH,
  type Unit,
} from '../rewrite/model.ts';

export interface Settled {
  /** To be copied, in the order given. */
  readonly moved: readonly Unit[];
  readonly inPlace: readonly Unit[];
}

/** Splits the used units; all of them move where addresses are not fixed. */
export function settleFixedAddresses(
  image: ElfImage,
  { references }: Pick<ModuleAnalysis, 'references'>,
  units: readonly Unit[],
): Settled {
  if (image.header.type !== ET_EXEC) return { moved: units, inPlace: [] };
  const candidates = new Set(
    units.filter(({ kind }) => kind === 'function' || kind === 'cluster' || kind === 'part'),
  );
  const named = namedAddresses(image, new Set([...candidates].map(({ start }) => start)));
  const branchedTo = branchTargets(references, units);
  const isPinned = ({ start }: Unit): boolean => named.has(start) && !branchedTo.has(start);
  const needed = new Set([...candidates].filter(isPinned).flatMap(pagesOf));
  const stays = (unit: Unit): boolean =>
    candidates.has(unit) && (isPinned(unit) || pagesOf(unit).every((page) => needed.has(page)));
  return { moved: units.filter((unit) => !stays(unit)), inPlace: units.filter(stays) };
}

/** Of units that were copied, those that whoever has their address goes on to run in their old place. */
export function runInPlace(image: ElfImage, copied: readonly Unit[]): Unit[] {
  if (image.header.type !== ET_EXEC) return [];
  const named = namedAddresses(image, new Set(copied.map(({ start }) => start)));
  return copied.filter(({ start }) => named.has(start));
}

/**
 * Unused pages that page faults would map beside used ones.
 *
 * A fault maps up to 16 cached pages, those of one aligned window, as far as a mapping reaches. python3.11 needs some 300 pages of
 * its original code for numpy, in 39 of 45 windows: 723 pages were resident with those of the copies, and are 506 with 44
 * runs mapped apart (`rewrite/apart-stub.ts`). Each run costs a system call at each start, and two mappings.
 *
 * @param used units that run in their old place.
 */
export function unusedRuns(image: ElfImage, used: readonly Unit[]): PageRun[] {
  if (image.header.type !== ET_EXEC) return [];
  const pages = new Set(used.flatMap(pagesOf));
  const windows = new Set([...pages].map(windowOf));
  const found: { readonly page: number; readonly count: number; readonly gain: number }[] = [];
  for (const { type, flags, rva: at, memSize } of image.segments) {
    if (type !== PT_LOAD || (flags & PF_X) === 0) continue;
    // What shares its first or last page with something else is not touched.
    const end = Math.floor((at + memSize) / PAGE_SIZE);
    for (let page = Math.ceil(at / PAGE_SIZE); page < end; page++) {
      let next = page;
      while (next < end && !pages.has(next)) next++;
      const run = Array.from({ length: next - page }, (_, i) => page + i);
      const gain = run.filter((one) => windows.has(windowOf(one))).length;
      if (gain >= LEAST_GAIN) found.push({ page, count: next - page, gain });
      page = next;
    }
  }
  const best = found.sort((a, b) => b.gain - a.gain || a.page - b.page).slice(0, MOST_RUNS);
  return best
    .sort((a, b) => a.page - b.page)
    .map(({ page, count }) => ({ at: rva(page * PAGE_SIZE), size: count * PAGE_SIZE }));
}

/** Pages that a run keeps from being mapped. */
const LEAST_GAIN = 2;
const MOST_RUNS = 64;
const WINDOW = 16;
const windowOf = (page: number): number => Math.floor(page / WINDOW);

function pagesOf({ start, end }: Unit): number[] {
  const first = Math.floor(start / PAGE_SIZE);
  return Array.from({ length: Math.ceil(end / PAGE_SIZE) - first }, (_, index) => first + index);
}

/** Where branches inside of `units` lead to. */
function branchTargets(references: CodeReferences, units: readonly Unit[]): Set<number> {
  const found = new Set<number>();
  for (const unit of units) {
    for (const row of rowsOf(references, unit)) {
      if (references.kind[row] === REFERENCE_BRANCH) found.add(references.target[row] ?? 0);
    }
  }
  return found;
}

/** Those of `starts` that occur as a number in what is loaded. */
export function namedAddresses(image: ElfImage, starts: ReadonlySet<number>): Set<number> {
  const found = new Set<number>();
  for (const { type, flags, offset, fileSize } of image.segments) {
    if (type !== PT_LOAD) continue;
    const bytes = image.bytes.subarray(offset, offset + fileSize);
    const view = viewOf(bytes);
    const isCode = (flags & PF_X) !== 0;
    const [step, width] = isCode ? [1, 4] : [8, 8];
    // Words of data are aligned in memory; a segment starts there as it does in the file, modulo a page.
    const first = isCode ? 0 : (8 - (offset % 8)) % 8;
    for (let at = first; at + width <= bytes.length; at += step) {
      if (!isCode && view.getUint32(at + 4, true) !== 0) continue;
      const value = view.getUint32(at, true);
      if (starts.has(value)) found.add(value);
    }
  }
  return found;
}
