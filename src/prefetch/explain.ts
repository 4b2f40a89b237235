/** What a plan does, next to the same figures without it. */
import { PAGE_SIZE } from '../base/brands.ts';
import type { FileReason, PlannedPrefetch } from './model.ts';

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

export function explainPlan({ plan, figures, skipped }: PlannedPrefetch): PlanExplanation {
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
    skipped: reasons.map(({ reason, files, pages: count, example }) => ({
      reason,
      files,
      pages: count,
      example,
    })),
  };
}
