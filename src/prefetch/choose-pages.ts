/** Which pages of one file are worth fetching, and in which extents. */
import { pageIndex, pagesIn } from '../base/brands.ts';
import { clampExtents } from '../profile/extents.ts';
import type { Extent } from '../profile/model.ts';
import { DECAY, type WorkingExtent, type WorkingFile } from '../profile/stats.ts';

/**
 * A page is fetched if at least this part of the runs used it, newer runs counting more: a page that is
 * not needed costs bandwidth, one that is missing costs a whole request, about four pages' worth.
 */
export const SURE_ENOUGH = 0.25;

/** The weight of a page that all runs used in which the file could have been as it is now. */
export function fullWeight(runs: number, otherRuns: number): number {
  // Runs that saw other content are the oldest, since the newest content is the one that counts.
  let weight = 0;
  for (let age = 0; age < Math.max(runs - otherRuns, 1); age += 1) weight += DECAY ** age;
  return weight;
}

export interface ChosenPages {
  /** What the runs used and the plan keeps, as it was recorded. */
  readonly sure: readonly WorkingExtent[];
  /** `sure` with small gaps closed. */
  readonly extents: readonly Extent[];
  readonly usedPages: number;
  readonly unsurePages: number;
  readonly gapPages: number;
}

const count = (extents: readonly Extent[]): number => extents.reduce((sum, extent) => sum + extent.count, 0);

/** Joins extents that touch or have at most `gapPages` between them. Ascending in, ascending out. */
export function closeGaps(extents: readonly Extent[], gapPages: number): Extent[] {
  const joined: Extent[] = [];
  for (const { page, count } of extents) {
    const last = joined.at(-1);
    if (last !== undefined && page - (last.page + last.count) <= gapPages) {
      joined[joined.length - 1] = { page: last.page, count: page + count - last.page };
    } else {
      joined.push({ page: pageIndex(page), count });
    }
  }
  return joined;
}

/** @param runs how many runs the profile has. @param size of the file now, bytes. */
export function choosePages(file: WorkingFile, runs: number, size: number, gapPages: number): ChosenPages {
  const enough = SURE_ENOUGH * fullWeight(runs, file.otherRuns);
  const sure = file.extents.filter((extent) => extent.weight >= enough && extent.page < pagesIn(size));
  const used = clampExtents(sure, size);
  const extents = closeGaps(used, gapPages);
  return {
    sure,
    extents,
    usedPages: count(file.extents),
    unsurePages: count(file.extents) - count(used),
    gapPages: count(extents) - count(used),
  };
}
