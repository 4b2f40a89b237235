/** What a plan does, next to the same figures without it. */
import { PAGE_SIZE } from '../base/brands.ts';
import type { NoRates } from '../sys/read-rate.ts';
import { formatCount } from '../term/format.ts';
import { ENOUGH } from './gap.ts';
import type { FileReason, PlannedDevice, PlannedPrefetch } from './model.ts';

/** One figure: fetching the files whole, what the runs used, what the plan fetches. */
export interface PlanRow {
  readonly what: string;
  readonly wholeFiles?: number;
  readonly used: number;
  readonly planned: number;
}

export interface SkippedCount {
  readonly reason: FileReason;
  readonly files: number;
  readonly pages: number;
  /** The one with the most pages. */
  readonly example: string;
}

export interface PlanExplanation {
  readonly files: number;
  readonly rows: readonly PlanRow[];
  readonly devices: readonly PlannedDevice[];
  /** Most pages first. */
  readonly skipped: readonly SkippedCount[];
}

export const REASONS: Readonly<Record<FileReason, string>> = {
  missing: 'no longer there',
  changed: 'another content than recorded',
  'not-a-regular-file': 'no regular file any more',
  'not-readable': 'may not be read by you',
  'special-file-system': 'in memory anyway (tmpfs, proc)',
  'unsure-pages': 'used by too few of the runs',
  empty: 'no page of it was used',
};

const NO_RATES: Readonly<Record<NoRates, string>> = {
  'no-direct-reads': 'not measured: its files cannot be read past the page cache',
  'too-little-to-read': 'not measured: too little to read',
  'no-answer': 'not measured: no answer in time',
};

/** Why a device has its gap, in words. */
export function explainGap({ why }: Pick<PlannedDevice, 'why'>): string {
  switch (why.kind) {
    case 'asked':
      return 'as asked for';
    case 'rotational':
      return 'it has a head that moves';
    case 'fast':
      return `${formatCount(ENOUGH)} requests/s or more`;
    case 'slow':
      return `slow: ${formatCount(why.requestsPerSecond)} requests/s, ${formatCount(Math.round(why.bytesPerSecond / 1e6))} MB/s`;
    case 'kept':
      return NO_RATES[why.reason];
  }
}

export function explainPlan({ plan, figures, devices, skipped }: PlannedPrefetch): PlanExplanation {
  const pages = { used: figures.usedPages, planned: figures.plannedPages };
  const rows: PlanRow[] = [
    { what: 'pages', wholeFiles: figures.filePages, ...pages },
    {
      what: 'bytes',
      wholeFiles: figures.filePages * PAGE_SIZE,
      used: pages.used * PAGE_SIZE,
      planned: pages.planned * PAGE_SIZE,
    },
    { what: 'extents', used: figures.usedExtents, planned: figures.plannedExtents },
  ];
  const counts = new Map<FileReason, SkippedCount & { readonly most: number }>();
  for (const { path, reason, pages: count } of skipped) {
    const known = counts.get(reason);
    const isLargest = known === undefined || count > known.most;
    counts.set(reason, {
      reason,
      files: (known?.files ?? 0) + 1,
      pages: (known?.pages ?? 0) + count,
      example: isLargest ? path : known.example,
      most: isLargest ? count : known.most,
    });
  }
  const reasons = [...counts.values()].sort((a, b) => b.pages - a.pages);
  return {
    files: plan.files.length,
    rows,
    devices,
    skipped: reasons.map(({ reason, files, pages: count, example }) => ({
      reason,
      files,
      pages: count,
      example,
    })),
  };
}
