/** What the prefetch technique wants to do: pure data, and why it does not do the rest. */
import type { PageIndex } from '../base/brands.ts';
import type { Extent } from '../profile/model.ts';
import type { ChosenGap } from './gap.ts';

export interface PlannedFile {
  /** Absolute path, as the program sees it. */
  readonly path: string;
  /** The launcher fetches nothing of a file that has become another one. */
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  /** Pages that one readahead call may ask for on the file's device. */
  readonly chunkPages: number;
  /** Ascending and apart. */
  readonly extents: readonly Extent[];
}

/**
 * A file that the program is shown in place of another one. What was recorded of the other one holds for it but
 * for `dropped` and `added`.
 */
export interface Replacement {
  /** Where the launcher finds it. */
  readonly path: string;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  readonly dev: bigint;
  /** Pages that it is not used by, whatever was recorded; ascending and apart. */
  readonly dropped: readonly Extent[];
  /** Pages that every start needs; ascending and apart. */
  readonly added: readonly Extent[];
  /** Of these, the page that a start needs first where the file is executed. */
  readonly headers?: PageIndex;
  /** Files that every start needs that uses it. */
  readonly companions?: readonly Companion[];
  /** Companions of other files in which the program finds pages of this one. */
  readonly moved?: readonly { readonly path: string; readonly pieces: readonly MovedPages[] }[];
  /** Whether it is used, too, where pages of it were moved. */
  readonly stays?: boolean;
}

/** Pages of one file, and where the first of them is in another. */
export interface MovedPages {
  readonly page: number;
  readonly count: number;
  readonly to: number;
}

export interface Companion {
  readonly path: string;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  readonly dev: bigint;
  /** Pages that are needed, beside those that were moved to it; absent: all. */
  readonly extents?: readonly Extent[];
}

export interface PlannedLookup {
  readonly path: string;
  readonly found: boolean;
}

/** A piece of work for one worker. */
export type Task =
  /** Extents `first` to `first + count` of `files[file]`. */
  | { readonly kind: 'file'; readonly file: number; readonly first: number; readonly count: number }
  /** `lookups[first]` to `lookups[first + count]`. */
  | { readonly kind: 'lookups'; readonly first: number; readonly count: number };

/** A page that tells whether the program is in memory. */
export interface Probe {
  readonly path: string;
  readonly page: number;
}

/** What the launcher is told. */
export interface PrefetchPlan {
  /** Processes that fetch at the same time. */
  readonly workers: number;
  /** In the order of first use. */
  readonly files: readonly PlannedFile[];
  readonly lookups: readonly PlannedLookup[];
  /** In the order in which workers take them. */
  readonly tasks: readonly Task[];
  /**
   * The first one belongs to the program itself, where it has pages in the plan. Those of one file stand
   * together. The launcher tries the first and a run of the others that begins at random.
   */
  readonly probes: readonly Probe[];
}

/** Why a file of the profile is not in the plan, or not as it was recorded. Codes are stable. */
export type FileReason =
  | 'missing'
  | 'changed'
  | 'not-a-regular-file'
  | 'not-readable'
  | 'special-file-system'
  | 'unsure-pages'
  | 'empty';

export interface SkippedFile {
  readonly path: string;
  readonly reason: FileReason;
  /** Pages of it in the profile. */
  readonly pages: number;
}

/** Figures of a plan: what was asked of it, what it does. */
export interface PlanFigures {
  /** Whole pages of all planned files: what fetching whole files would read. */
  readonly filePages: number;
  /** Pages that the profile's runs used, in the planned files. */
  readonly usedPages: number;
  /** Pages in the plan, gaps included. */
  readonly plannedPages: number;
  /** Pages fetched only because they lie in a gap that is cheaper to read than to skip. */
  readonly gapPages: number;
  /** Pages left out: too few of the runs used them. */
  readonly unsurePages: number;
  readonly usedExtents: number;
  readonly plannedExtents: number;
  /** readahead calls of a start. */
  readonly calls: number;
  readonly lookups: number;
  readonly failedLookups: number;
  /** Files installed anew with the same content: recorded pages hold for the new file. */
  readonly readopted: number;
}

/** A device that planned files lie on. */
export interface PlannedDevice extends ChosenGap {
  /** `MAJOR:MINOR`. */
  readonly number: string;
  readonly name: string;
  readonly chunkPages: number;
}

/** A plan, and what was decided on the way. */
export interface PlannedPrefetch {
  readonly plan: PrefetchPlan;
  readonly figures: PlanFigures;
  readonly devices: readonly PlannedDevice[];
  readonly skipped: readonly SkippedFile[];
}
