/** Extents: runs of pages of one file, ascending and apart. */
import { type PageIndex, pageIndex, pagesIn } from '../base/brands.ts';
import type { Extent, Run } from './model.ts';

/** The extents that cover `pages`, in any order and with repetitions. */
export function toExtents(pages: Iterable<PageIndex>): Extent[] {
  return joinExtents(Array.from(pages, (page) => ({ page, count: 1 })));
}

/** The union of extents that may overlap and stand in any order. */
export function joinExtents(extents: readonly Extent[]): Extent[] {
  const sorted = extents.filter((extent) => extent.count > 0).sort((a, b) => a.page - b.page);
  const joined: Extent[] = [];
  for (const extent of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && extent.page <= last.page + last.count) {
      const count = Math.max(last.count, extent.page + extent.count - last.page);
      joined[joined.length - 1] = { page: last.page, count };
    } else {
      joined.push(extent);
    }
  }
  return joined;
}

/** The extents without what lies past the end of a file of `size` bytes. */
export function clampExtents(extents: readonly Extent[], size: number): readonly Extent[] {
  const pages = pagesIn(size);
  if (extents.every((extent) => extent.page + extent.count <= pages)) return extents;
  return extents
    .filter((extent) => extent.page < pages)
    .map((extent) => ({ page: extent.page, count: Math.min(extent.count, pages - extent.page) }));
}

/** Pages that stand in both lists; each list ascends. */
export function commonPages(some: readonly Extent[], others: readonly Extent[]): number {
  let sum = 0;
  for (const a of some) {
    for (const b of others) {
      const from = Math.max(a.page, b.page);
      sum += Math.max(0, Math.min(a.page + a.count, b.page + b.count) - from);
    }
  }
  return sum;
}

/** What is left of `extents` where no page of `without` may be. */
export function subtract<T extends Extent>(extents: readonly T[], without: readonly Extent[]): T[] {
  let left = [...extents];
  for (const hole of without) {
    const end = hole.page + hole.count;
    left = left.flatMap((one) => {
      const last = one.page + one.count;
      if (end <= one.page || last <= hole.page) return [one];
      const before = { ...one, count: Math.max(0, hole.page - one.page) };
      const after = { ...one, page: pageIndex(Math.max(end, one.page)), count: Math.max(0, last - end) };
      return [before, after].filter(({ count }) => count > 0);
    });
  }
  return left;
}

/** How many pages the extents hold; they must not overlap. */
export function pageCount(extents: readonly Extent[]): number {
  return extents.reduce((sum, extent) => sum + extent.count, 0);
}

/** Compact form: for each extent the gap since the end of the one before, then its count. */
export function toDeltas(extents: readonly Extent[]): number[] {
  const deltas: number[] = [];
  let end = 0;
  for (const { page, count } of extents) {
    deltas.push(page - end, count);
    end = page + count;
  }
  return deltas;
}

/**
 * The extents of a compact form, or undefined where it is none: an odd length, a figure that is no
 * natural number, extents that touch or are empty, an end past `pages`.
 */
export function fromDeltas(deltas: readonly number[], pages: number): Extent[] | undefined {
  if (deltas.length % 2 !== 0) return undefined;
  const extents: Extent[] = [];
  let end = 0;
  for (let at = 0; at < deltas.length; at += 2) {
    const gap = deltas[at] ?? -1;
    const count = deltas[at + 1] ?? 0;
    if (!Number.isSafeInteger(gap) || !Number.isSafeInteger(count)) return undefined;
    if (gap < (at === 0 ? 0 : 1) || count < 1 || end + gap + count > pages) return undefined;
    extents.push({ page: pageIndex(end + gap), count });
    end += gap + count;
  }
  return extents;
}

/**
 * The run without pages past the end of a file: its size may have changed between the touch of a page and
 * the look at its size.
 */
export function withoutPagesPastEnd(run: Run): Run {
  const processes = run.processes.map((process) => ({
    ...process,
    pages: process.pages.map((pages) => {
      const size = run.files[pages.file]?.identity.size ?? 0;
      return { ...pages, extents: clampExtents(pages.extents, size) };
    }),
  }));
  return { ...run, processes };
}
