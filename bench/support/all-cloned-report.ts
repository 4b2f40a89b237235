/** The figures of bench/all-cloned.ts: added up, and as a table. */
import type { Counts, JudgedLibrary } from './all-cloned-judge.ts';

export interface AllClonedReport {
  readonly measured: string;
  readonly tools: Readonly<Record<string, string>>;
  readonly packages: Readonly<Record<string, string>>;
  readonly minutes: number;
  readonly totals: Totals;
  readonly libraries: readonly JudgedLibrary[];
}

export interface Totals {
  readonly libraries: number;
  readonly rewritten: number;
  readonly keptLibraries: Counts;
  readonly loaded: number;
  /** Neither the original nor the copy can be loaded by itself. */
  readonly notLoadable: number;
  readonly units: number;
  readonly clonedUnits: number;
  readonly refusedUnits: Counts;
  readonly noUnits: Counts;
  readonly jumpTables: number;
  readonly clonedJumpTables: number;
  readonly keptJumpTables: Counts;
  readonly complaints: number;
}

export function totalsOf(libraries: readonly JudgedLibrary[]): Totals {
  const rewritten = libraries.filter(({ kept }) => kept === undefined);
  const sum = (of: (library: JudgedLibrary) => number): number =>
    libraries.reduce((all, library) => all + of(library), 0);
  return {
    libraries: libraries.length,
    rewritten: rewritten.length,
    keptLibraries: addCounts(libraries.flatMap(({ kept }) => (kept === undefined ? [] : [{ [kept]: 1 }]))),
    loaded: rewritten.filter(({ loads }) => loads).length,
    notLoadable: rewritten.filter(({ loads }) => !loads).length,
    units: sum(({ units }) => units),
    clonedUnits: sum(({ clonedUnits }) => clonedUnits),
    refusedUnits: addCounts(libraries.map(({ refusedUnits }) => refusedUnits)),
    noUnits: addCounts(libraries.map(({ noUnits }) => noUnits)),
    jumpTables: sum(({ jumpTables }) => jumpTables),
    clonedJumpTables: sum(({ clonedJumpTables }) => clonedJumpTables),
    keptJumpTables: addCounts(libraries.map(({ keptJumpTables }) => keptJumpTables)),
    complaints: sum(({ complaints }) => complaints.length),
  };
}

function addCounts(all: readonly Counts[]): Counts {
  const sums = new Map<string, number>();
  for (const counts of all) {
    for (const [reason, count] of Object.entries(counts)) sums.set(reason, (sums.get(reason) ?? 0) + count);
  }
  return Object.fromEntries([...sums].toSorted((a, b) => b[1] - a[1]));
}

export function renderAllCloned({ measured, tools, minutes, totals }: AllClonedReport): string {
  const share = (part: number, whole: number): string =>
    whole === 0 ? '' : ` (${((100 * part) / whole).toFixed(2)} %)`;
  const rows = (counts: Counts): string[] =>
    Object.entries(counts).map(([reason, count]) => `| &nbsp;&nbsp;${reason} | ${count} |`);
  return [
    `Measured ${measured} with \`npm run bench:all-cloned\`, ${minutes.toFixed(0)} minutes. Every function of every library`,
    "copied; judged by winnow's reader, readelf, eu-elflint and the dynamic loader; rewritten twice and restored.",
    '',
    '```',
    ...Object.entries(tools).map(([name, version]) => `${`${name}:`.padEnd(8)} ${version}`),
    '```',
    '',
    '| all functions copied | |',
    '| --- | ---: |',
    `| libraries | ${totals.libraries} |`,
    `| rewritten | ${totals.rewritten} |`,
    ...rows(totals.keptLibraries),
    `| loaded by dlopen, all bound at once | ${totals.loaded} |`,
    `| original cannot be loaded by itself either | ${totals.notLoadable} |`,
    `| units of code | ${totals.units} |`,
    `| copied | ${totals.clonedUnits}${share(totals.clonedUnits, totals.units)} |`,
    ...rows(totals.refusedUnits),
    `| code that is in no unit | ${Object.values(totals.noUnits).reduce((sum, count) => sum + count, 0)} |`,
    ...rows(totals.noUnits),
    `| jump tables | ${totals.jumpTables} |`,
    `| copied | ${totals.clonedJumpTables}${share(totals.clonedJumpTables, totals.jumpTables)} |`,
    ...rows(totals.keptJumpTables),
    `| complaints of a judge | ${totals.complaints} |`,
    '',
    '',
  ].join('\n');
}
