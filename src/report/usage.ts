/** What a command used, as figures: the model behind `winnow report`, without terminal or disk. */
import { PAGE_SIZE, pagesIn } from '../base/brands.ts';
import { pageCount } from '../profile/extents.ts';
import type { Command, FileIdentity, Method, Profile } from '../profile/model.ts';
import { mostThorough, processSets, type WorkingFile, workingSet } from '../profile/stats.ts';

/** How a file stands to what was recorded of it. */
export type FileState = 'same' | 'changed' | 'missing' | 'unreadable';

export interface FileUsage {
  readonly path: string;
  /** Pages that any run used. */
  readonly pages: number;
  /** Pages of the whole file. */
  readonly filePages: number;
  readonly bytes: number;
  readonly mappedPages: number;
  readonly readPages: number;
  /** Pages that every run of this content used. */
  readonly steadyPages: number;
  /** Runs that used the file with this content. */
  readonly runs: number;
  /** Mean number of runs that used a page. */
  readonly meanHits: number;
  readonly state: FileState;
}

/** Something that an image cannot make use of, and why. */
export interface LeftOut {
  readonly path: string;
  readonly reason: string;
}

export interface ProcessUsage {
  readonly program: string;
  readonly argvShape: readonly string[];
  readonly runs: number;
  readonly times: number;
  readonly files: number;
  readonly pages: number;
  readonly mappedPages: number;
  readonly readPages: number;
}

export interface LookupUsage {
  readonly path: string;
  readonly found: boolean;
  readonly weight: number;
}

export interface NoteUsage {
  readonly code: string;
  readonly text: string;
  /** In how many runs it was noted. */
  readonly runs: number;
}

export interface Totals {
  readonly files: number;
  readonly pages: number;
  readonly filePages: number;
  readonly bytes: number;
  readonly fileBytes: number;
  readonly mappedPages: number;
  readonly readPages: number;
  readonly steadyPages: number;
  readonly lookups: number;
  readonly lookupsMissing: number;
}

export interface Usage {
  readonly name: string;
  /** Of the newest run; undefined for a profile without runs. */
  readonly command: Command | undefined;
  /** Of the newest run that is counted. */
  readonly method: Method | undefined;
  /** Those that are counted. */
  readonly runs: number;
  /** Quick recordings that are not counted, because others say more. */
  readonly setAside: number;
  /** Milliseconds since the epoch, of all runs. */
  readonly newestRun: number | undefined;
  readonly oldestRun: number | undefined;
  readonly totals: Totals;
  /** Most pages first. */
  readonly files: readonly FileUsage[];
  readonly leftOut: readonly LeftOut[];
  readonly notes: readonly NoteUsage[];
  readonly processes: readonly ProcessUsage[];
  /** In the order of first use. */
  readonly lookups: readonly LookupUsage[];
}

/** Looks at a file as it is now. */
export type StateOf = (path: string, recorded: FileIdentity) => FileState;

const REASONS: Readonly<Record<Exclude<FileState, 'same'>, string>> = {
  changed: 'has changed since it was recorded: record again',
  missing: 'is not there any more',
  unreadable: 'cannot be read by this user',
};

const pagesHow = (file: WorkingFile, how: 'mapped' | 'read'): number =>
  pageCount(file.extents.filter((extent) => extent.how === how));

function fileUsage(file: WorkingFile, state: FileState): FileUsage {
  const pages = pageCount(file.extents);
  const hits = file.extents.reduce((sum, extent) => sum + extent.count * extent.hits, 0);
  return {
    path: file.path,
    pages,
    filePages: pagesIn(file.identity.size),
    bytes: pages * PAGE_SIZE,
    mappedPages: pagesHow(file, 'mapped'),
    readPages: pagesHow(file, 'read'),
    steadyPages: pageCount(file.extents.filter((extent) => extent.hits === file.runs)),
    runs: file.runs,
    meanHits: pages === 0 ? 0 : hits / pages,
    state,
  };
}

function leftOut(files: readonly FileUsage[], sets: readonly WorkingFile[]): LeftOut[] {
  const now = files.flatMap(({ path, state }) =>
    state === 'same' ? [] : [{ path, reason: REASONS[state] }],
  );
  const earlier = sets.flatMap(({ path, otherRuns }) => {
    if (otherRuns === 0) return [];
    const runs = otherRuns === 1 ? '1 run' : `${otherRuns} runs`;
    return [{ path, reason: `had other content in ${runs}: what those used is not counted` }];
  });
  return [...now, ...earlier];
}

function notesOf(profile: Profile): NoteUsage[] {
  const notes = new Map<string, NoteUsage>();
  for (const run of profile.runs) {
    const seen = new Set<string>();
    for (const { code, text } of run.notes) {
      const key = `${code} ${text}`;
      if (seen.has(key)) continue;
      seen.add(key);
      notes.set(key, { code, text, runs: (notes.get(key)?.runs ?? 0) + 1 });
    }
  }
  return [...notes.values()];
}

function processesOf(profile: Profile): ProcessUsage[] {
  return processSets(profile).map(({ program, argvShape, runs, times, files }) => {
    const sum = (count: (file: WorkingFile) => number): number =>
      files.reduce((total, file) => total + count(file), 0);
    const mappedPages = sum((file) => pagesHow(file, 'mapped'));
    const readPages = sum((file) => pagesHow(file, 'read'));
    const pages = mappedPages + readPages;
    return { program, argvShape, runs, times, files: files.length, pages, mappedPages, readPages };
  });
}

/** The figures of a profile. `stateOf` is asked once for each file. */
export function usageOf(profile: Profile, stateOf: StateOf): Usage {
  const set = workingSet(profile);
  const files = set.files.map((file) => fileUsage(file, stateOf(file.path, file.identity)));
  const total = (count: (file: FileUsage) => number): number =>
    files.reduce((sum, file) => sum + count(file), 0);
  const [newest] = profile.runs;
  return {
    name: profile.name,
    command: newest?.command,
    method: mostThorough(profile)[0]?.method,
    runs: set.runs,
    setAside: set.setAside,
    newestRun: newest?.startedAt,
    oldestRun: profile.runs.at(-1)?.startedAt,
    totals: {
      files: files.length,
      pages: total((file) => file.pages),
      filePages: total((file) => file.filePages),
      bytes: total((file) => file.bytes),
      fileBytes: set.files.reduce((sum, file) => sum + file.identity.size, 0),
      mappedPages: total((file) => file.mappedPages),
      readPages: total((file) => file.readPages),
      steadyPages: total((file) => file.steadyPages),
      lookups: set.lookups.length,
      lookupsMissing: set.lookups.filter((lookup) => !lookup.found).length,
    },
    files: files.toSorted((a, b) => b.pages - a.pages || (a.path < b.path ? -1 : 1)),
    leftOut: leftOut(files, set.files),
    notes: notesOf(profile),
    processes: processesOf(profile),
    lookups: set.lookups.map(({ path, found, weight }) => ({ path, found, weight })),
  };
}
