/**
 * Which functions the runs of a profile entered, file by file. Derived when asked for, like `stats.ts`.
 *
 * Problem: a rewriting wants every function that any run entered, hot ones packed in the order in which they
 * are needed. Example: run 0 (the newest) entered main, a, c and run 1 main, b, c: main, a, c, b. Method: the newest run's
 * order, then what only the one before it entered, and so on. So one list serves whoever lays code out, and
 * its first part is what the last run needed. Limits: a file whose content changed counts only in the runs that
 * saw its newest content; other content has its functions elsewhere.
 */
import type { Rva } from '../base/brands.ts';
import { sameContent } from './identity.ts';
import type { FileIdentity, Profile } from './model.ts';
import { weightOf } from './stats.ts';

export interface UsedFunction {
  /** Where control came in. */
  readonly entry: Rva;
  /** In how many runs. */
  readonly hits: number;
  /** Sum of DECAY^age over these runs; of those that saw functions, the newest has age 0. */
  readonly weight: number;
}

export interface FileFunctions {
  readonly path: string;
  /** As the newest run that entered the file saw it. */
  readonly identity: FileIdentity;
  /** In how many runs it was entered with this content. */
  readonly runs: number;
  /** In how many runs it was entered with other content; they count for nothing else. */
  readonly otherRuns: number;
  /** Newest run's order of first use first. */
  readonly entries: readonly UsedFunction[];
}

export interface FunctionsUsed {
  /** How many runs saw functions: all of them are counted. */
  readonly runs: number;
  /** Weight of what every such run entered. */
  readonly fullWeight: number;
  /** In the order of first use of the newest run; then what only the one before it used, and so on. */
  readonly files: readonly FileFunctions[];
}

interface Collected {
  readonly identity: FileIdentity;
  runs: number;
  otherRuns: number;
  readonly entries: Map<Rva, { hits: number; weight: number }>;
}

export function functionsUsed(profile: Profile): FunctionsUsed {
  const runs = profile.runs.filter(({ method }) => method.functions === 'seen');
  const files = new Map<string, Collected>();
  runs.forEach((run, age) => {
    const counted = new Set<string>();
    for (const { file, entries } of run.entered) {
      const used = run.files[file];
      // A file replaced while the program ran stands in the list twice: the first one is counted.
      if (used === undefined || counted.has(used.path)) continue;
      counted.add(used.path);
      const known = files.get(used.path);
      const collected = known ?? { identity: used.identity, runs: 0, otherRuns: 0, entries: new Map() };
      if (known === undefined) files.set(used.path, collected);
      if (sameContent(collected.identity, used.identity)) addRun(collected, entries, weightOf(age));
      else collected.otherRuns++;
    }
  });
  return {
    runs: runs.length,
    fullWeight: runs.reduce((sum, _run, age) => sum + weightOf(age), 0),
    files: [...files].map(([path, { identity, runs, otherRuns, entries }]) => ({
      path,
      identity,
      runs,
      otherRuns,
      entries: [...entries].map(([entry, { hits, weight }]) => ({ entry, hits, weight })),
    })),
  };
}

function addRun(collected: Collected, entries: readonly Rva[], weight: number): void {
  collected.runs++;
  for (const entry of entries) {
    const known = collected.entries.get(entry);
    if (known === undefined) {
      collected.entries.set(entry, { hits: 1, weight });
    } else {
      known.hits++;
      known.weight += weight;
    }
  }
}
