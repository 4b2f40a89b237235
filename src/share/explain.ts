/** What share does to the programs of an image, summed up. */
import type {
  Counted,
  JoinedFigures,
  KeptProgram,
  ShareFigures,
  SlideFigures,
  TakenFigures,
} from './built.ts';

export interface KeptCount {
  readonly reason: string;
  readonly programs: number;
  /** The first one, and what is known of it. */
  readonly example: string;
  readonly detail?: string;
}

export interface ShareExplanation {
  readonly programs: readonly {
    readonly path: string;
    readonly figures: ShareFigures;
    readonly asksForItself?: string | undefined;
    readonly libraryPath?: string | undefined;
    readonly joined?: JoinedFigures | undefined;
    readonly taken?: TakenFigures | undefined;
    readonly slide?: SlideFigures | undefined;
  }[];
  readonly kept: readonly KeptCount[];
  readonly totals: { readonly programs: number; readonly pages: number; readonly bytes: number };
}

/** What `winnow build` made, or the manifest of an image tells of it. */
export interface Shared {
  readonly programs: ShareExplanation['programs'];
  readonly kept: readonly KeptProgram[];
}

export function explainShare({ programs, kept }: Shared): ShareExplanation {
  const sum = (count: (figures: ShareFigures) => number): number =>
    programs.reduce((total, { figures }) => total + count(figures), 0);
  return {
    programs: programs.map(({ path, figures, asksForItself, libraryPath, joined, taken, slide }) => ({
      path,
      figures,
      asksForItself,
      libraryPath,
      joined,
      taken,
      slide,
    })),
    kept: countKept(kept),
    totals: {
      programs: programs.length,
      pages: sum(({ pages }) => pages),
      bytes: sum(({ bytes }) => bytes),
    },
  };
}

function countKept(kept: readonly KeptProgram[]): KeptCount[] {
  const counts = new Map<string, KeptCount>();
  for (const { path, reason, detail } of kept) {
    const known = counts.get(reason);
    const first = { reason, example: path, ...(detail === undefined ? {} : { detail }) };
    counts.set(reason, { ...(known ?? first), programs: (known?.programs ?? 0) + 1 });
  }
  return [...counts.values()].sort((a, b) => b.programs - a.programs || (a.reason < b.reason ? -1 : 1));
}

/** How often each name is there, most first. */
export function countNames<Name extends string>(
  names: readonly Name[],
): (Counted & { readonly name: Name })[] {
  const counts = new Map<Name, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts]
    .map(([name, count]) => ({ name, count }))
    .sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1));
}
