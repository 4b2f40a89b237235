/** What select does to each module, next to the same figures without it. */
import type { RewriteFigures } from '../rewrite/model.ts';
import type { CodeUse, KeptModule, StayedCount } from './model.ts';

/** All counts of pages are of 4 KiB pages of code. */
export interface ModuleRow {
  readonly path: string;
  readonly textPages: number;
  /** Pages of code that the recordings saw touched; undefined where the file could not be looked at. */
  readonly touchedPages?: number;
  /** Pages of the original layout that used code lies on. */
  readonly usedPages?: number;
  /**
   * Pages that hold used code now: those of the copies, and those of the original that go on being used; of a
   * module that stays, `usedPages`, or all of them.
   */
  readonly neededPages: number;
  /** Pages that were added and are no code. */
  readonly addedPages: number;
  readonly functions?: number;
  readonly usedFunctions?: number;
  /** What of the module was used and is not copied, by reason. */
  readonly stayed: readonly StayedCount[];
  /** Why the module stays as it is. */
  readonly kept?: string;
}

export interface SelectTotals {
  readonly modules: number;
  readonly rewrittenModules: number;
  readonly textPages: number;
  readonly usedPages: number;
  readonly neededPages: number;
  readonly addedPages: number;
  readonly functions: number;
  readonly usedFunctions: number;
}

export interface KeptCount {
  readonly reason: string;
  readonly modules: number;
  readonly textPages: number;
  /** The one with the most pages. */
  readonly example: string;
}

export interface SelectExplanation {
  /** Most pages of code first. */
  readonly modules: readonly ModuleRow[];
  readonly totals: SelectTotals;
  /** Most pages first. */
  readonly kept: readonly KeptCount[];
  /** Over all modules, most first. */
  readonly stayed: readonly StayedCount[];
}

/** What `winnow build` made, or the manifest of an image tells of it. */
export interface Selected {
  readonly modules: readonly (CodeUse & {
    readonly path: string;
    readonly figures: RewriteFigures;
    readonly stayedPages: number;
    readonly stayed: readonly StayedCount[];
  })[];
  readonly kept: readonly KeptModule[];
}

export function explainSelect({ modules, kept }: Selected): SelectExplanation {
  const rows: ModuleRow[] = [
    ...modules.map(({ path, figures, stayed, stayedPages, ...use }) => ({
      path,
      ...codeOf(use),
      neededPages: figures.hotPages + stayedPages,
      addedPages: figures.addedReadOnlyPages,
      stayed,
    })),
    ...kept.map(({ path, reason, textPages, code }) => ({
      path,
      ...(code === undefined ? { textPages } : codeOf(code)),
      neededPages: code?.usedPages ?? textPages,
      addedPages: 0,
      stayed: [],
      kept: reason,
    })),
  ];
  const sum = (count: (row: ModuleRow) => number | undefined): number =>
    rows.reduce((total, row) => total + (count(row) ?? 0), 0);
  return {
    modules: rows.sort((a, b) => b.textPages - a.textPages || (a.path < b.path ? -1 : 1)),
    totals: {
      modules: rows.length,
      rewrittenModules: modules.length,
      textPages: sum((row) => row.textPages),
      usedPages: sum((row) => row.usedPages ?? row.textPages),
      neededPages: sum((row) => row.neededPages),
      addedPages: sum((row) => row.addedPages),
      functions: sum((row) => row.functions),
      usedFunctions: sum((row) => row.usedFunctions),
    },
    kept: countKept(kept),
    stayed: countStayed(rows),
  };
}

const codeOf = ({ textPages, touchedPages, usedPages, functions, usedFunctions }: CodeUse): CodeUse => ({
  textPages,
  touchedPages,
  usedPages,
  functions,
  usedFunctions,
});

function countKept(kept: readonly KeptModule[]): KeptCount[] {
  const counts = new Map<string, KeptCount & { readonly most: number }>();
  for (const { path, reason, textPages } of kept) {
    const known = counts.get(reason);
    const isLargest = known === undefined || textPages > known.most;
    counts.set(reason, {
      reason,
      modules: (known?.modules ?? 0) + 1,
      textPages: (known?.textPages ?? 0) + textPages,
      example: isLargest ? path : known.example,
      most: isLargest ? textPages : known.most,
    });
  }
  return [...counts.values()]
    .map(({ most: _, ...count }) => count)
    .sort((a, b) => b.textPages - a.textPages || (a.reason < b.reason ? -1 : 1));
}

function countStayed(rows: readonly ModuleRow[]): StayedCount[] {
  const counts = new Map<string, number>();
  for (const { stayed } of rows) {
    for (const { reason, count } of stayed) counts.set(reason, (counts.get(reason) ?? 0) + count);
  }
  return [...counts]
    .map(([reason, count]) => ({ reason, count }))
    .sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
}
