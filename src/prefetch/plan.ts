/**
 * Prefetch: bring a program's working set into memory while it starts.
 *
 * Problem: a cold start waits for the disk one page fault at a time. `node -e 0` needs 3,200 pages of a
 * file of 25,000, in some 500 places; the kernel reads around each fault and mostly what is not needed,
 * and nothing tells the disk about the next fault before the last one is served. Whole files are no way
 * out: reading them takes longer than the start (measured: often a loss).
 *
 * Example: three runs used pages 10-12 and 15 of libz.so, one old run page 900. Planned: pages 10-15 in
 * one request, since reading 13 and 14 is cheaper than a second request; 900 is left to the kernel.
 *
 * Method: the pages that enough runs used (`choose-pages.ts`), gaps closed by the device's measure
 * (`gap.ts`), files in the order of first use, with the look-ups that preceded them, failing ones too
 * (`tasks.ts`): on a slow disk folders and inodes cost as much as data. Only files that are what they were
 * are taken (`adopt.ts`); the launcher compares size, time and inode once more at each start. What is in
 * memory already costs some probes (`probes.ts`) and nothing else.
 *
 * Limits: what a run reads depends on its input; the plan knows past runs. Pages evicted while others
 * stay are fetched only when a probe meets one. Files on tmpfs and the like have nothing to fetch.
 */
import { realpathSync } from 'node:fs';
import { PAGE_SIZE, pageIndex, pagesIn } from '../base/brands.ts';
import { errnoOf } from '../base/errors.ts';
import { joinExtents, pageCount, subtract } from '../profile/extents.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { Extent, Profile } from '../profile/model.ts';
import { type WorkingFile, type WorkingLookup, type WorkingSet, workingSet } from '../profile/stats.ts';
import { type Adopted, fileFinder } from './adopt.ts';
import { choosePages, closeGaps, fullWeight, SURE_ENOUGH } from './choose-pages.ts';
import { type DeviceOptions, Devices } from './devices.ts';
import type {
  Companion,
  PlanFigures,
  PlannedFile,
  PlannedPrefetch,
  Replacement,
  SkippedFile,
} from './model.ts';
import { moveExtents } from './moved.ts';
import { chooseProbes, type ProbedFile } from './probes.ts';
import { type AnchoredLookup, orderWork } from './tasks.ts';
import { urgentWork } from './urgent.ts';

export interface PrefetchOptions extends DeviceOptions {
  /**
   * Folder of a copied root file system in which the files are looked up, as `rootFolder` gives it; paths
   * stay as they are in it.
   */
  readonly root?: string;
  /** Processes that fetch, 1 to 16. */
  readonly workers?: number;
  /** Files that stand for those of the profile under the paths of the map. */
  readonly replacements?: ReadonlyMap<string, Replacement>;
}

/**
 * On a loop device (20,000 requests a second), 2, 4 and 8 workers measured within noise of each other on
 * git, R and chromium; 1 was slower.
 */
const WORKERS = 4;
const MOST_LOOKUPS = 20_000;

/** Made anew by the kernel at every look-up, or held in memory: nothing to fetch. */
const NOT_ON_DISK = /^\/(?:proc|sys|dev)(?:\/|$)/;

interface Collected {
  readonly files: PlannedFile[];
  /** Paths of `files` as they were recorded. */
  readonly recorded: string[];
  readonly probed: ProbedFile[];
  readonly skipped: SkippedFile[];
  readonly devices: Devices;
  readonly figures: { -readonly [Key in keyof PlanFigures]: PlanFigures[Key] };
}

/** @throws what stat throws for other reasons than a missing or forbidden file (EIO). */
export function planPrefetch(profile: Profile, options: PrefetchOptions = {}): PlannedPrefetch {
  const used = workingSet(profile);
  const collected = collectFiles(used, options);
  const { files, recorded, probed, skipped, devices, figures } = collected;
  const resolve = resolver(options.root);
  const program = profile.runs[0]?.command.program ?? '';
  const { root, replacements, workers = WORKERS } = options;
  const here = (path: string): string => (root === undefined ? path : insideRoot(root, path));
  const urgent =
    files.length === 0 ? undefined : urgentWork(program, { files: recorded, resolve, here, replacements });
  const known = collectLookups(used, recorded, resolve);
  const { lookups, tasks } = orderWork(files, known, {
    ...(urgent === undefined ? {} : { urgent }),
    workers,
  });
  const plan = {
    workers,
    files,
    lookups,
    tasks,
    probes: chooseProbes(probed, pathOf(resolve(program) ?? program, options)),
  };
  const failedLookups = lookups.filter(({ found }) => !found).length;
  return {
    plan,
    figures: { ...figures, lookups: lookups.length, failedLookups },
    devices: devices.all,
    skipped,
  };
}

const pathOf = (path: string, { replacements }: PrefetchOptions): string =>
  replacements?.get(path)?.path ?? path;

function collectFiles(used: WorkingSet, options: PrefetchOptions): Collected {
  const skipped: SkippedFile[] = [];
  const adopted = adoptFiles(used, options.root, skipped);
  const devices = new Devices(
    adopted.map(({ found }) => found),
    options,
  );
  const collected: Collected = {
    files: [],
    recorded: [],
    probed: [],
    skipped,
    devices,
    figures: {
      filePages: 0,
      usedPages: 0,
      plannedPages: 0,
      gapPages: 0,
      unsurePages: 0,
      usedExtents: 0,
      plannedExtents: 0,
      calls: 0,
      lookups: 0,
      failedLookups: 0,
      readopted: 0,
    },
  };
  const uses = adopted.map(({ file, found }) => useOf(file, found, used, options));
  const moved = movedPages(uses, used);
  for (const { file, found, other, now, wanted } of uses) {
    const { gapPages, chunkPages } = devices.of(now.dev);
    const chosen = choosePages(wanted, used.runs, now.size, gapPages);
    if (chosen.extents.length === 0) {
      const pages = pagesOf(file);
      // All of it is in another file.
      if (pages > 0 && pagesOf(wanted) === 0) continue;
      const reason = pages === 0 ? 'empty' : 'unsure-pages';
      collected.skipped.push({ path: file.path, reason, pages });
      continue;
    }
    const { path, size, mtimeNs, inode } = now;
    const planned = { path, size, mtimeNs, inode, chunkPages, extents: chosen.extents };
    collected.files.push(planned);
    collected.recorded.push(file.path);
    collected.probed.push({ path, sure: chosen.sure, headers: other?.headers });
    addFigures(collected.figures, wanted, planned, chosen);
    if (found.anew) collected.figures.readopted += 1;
    for (const companion of other?.companions ?? [])
      addCompanion(collected, companion, moved.get(companion.path));
  }
  return collected;
}

const pagesOf = ({ extents }: WorkingFile): number => extents.reduce((sum, { count }) => sum + count, 0);

/** The files as they are now; those that are none to fetch go to `skipped`. */
function adoptFiles(
  used: WorkingSet,
  root: string | undefined,
  skipped: SkippedFile[],
): { readonly file: WorkingFile; readonly found: Adopted }[] {
  const find = fileFinder(root);
  return used.files.flatMap((file) => {
    const found = NOT_ON_DISK.test(file.path)
      ? ({ kind: 'skipped', reason: 'special-file-system' } as const)
      : find(file.path, file.identity);
    if (found.kind === 'adopted') return [{ file, found }];
    skipped.push({ path: file.path, reason: found.reason, pages: pagesOf(file) });
    return [];
  });
}

/** A file of the profile, and what stands for it now. */
interface Use {
  readonly file: WorkingFile;
  readonly found: Adopted;
  readonly other: Replacement | undefined;
  readonly now: Pick<Replacement, 'path' | 'size' | 'mtimeNs' | 'inode' | 'dev'>;
  /** What was recorded, as it holds for `now`. */
  readonly recorded: WorkingFile;
  /** What of that is not in another file. */
  readonly wanted: WorkingFile;
}

function useOf(file: WorkingFile, found: Adopted, used: WorkingSet, options: PrefetchOptions): Use {
  const other = options.replacements?.get(file.path);
  const now = other ?? { path: file.path, ...found };
  const recorded = other === undefined ? file : replaced(file, other, used);
  const gone = other?.stays === true ? [] : (other?.moved ?? []).flatMap(({ pieces }) => pieces);
  const left = joinExtents(gone.map(({ page, count }) => ({ page: pageIndex(page), count })));
  const wanted = { ...recorded, extents: subtract(recorded.extents, left) };
  return { file, found, other, now, recorded, wanted };
}

/** For each file that pages were moved to, which of them enough runs used. */
function movedPages(uses: readonly Use[], { runs }: WorkingSet): ReadonlyMap<string, readonly Extent[]> {
  const moved = new Map<string, Extent[]>();
  for (const { other, now, recorded } of uses) {
    if (other?.moved === undefined) continue;
    const { extents } = choosePages(recorded, runs, now.size, 0);
    for (const { path, pieces } of other.moved)
      moved.set(path, [...(moved.get(path) ?? []), ...moveExtents(extents, pieces)]);
  }
  return moved;
}

function addCompanion(
  { files, recorded, probed, devices, figures }: Collected,
  { path, size, mtimeNs, inode, dev, extents: own }: Companion,
  moved: readonly Extent[] = [],
): void {
  const { chunkPages, gapPages } = devices.of(dev);
  const all = pagesIn(size);
  const used = own === undefined ? [{ page: pageIndex(0), count: all }] : joinExtents([...own, ...moved]);
  const extents = closeGaps(used, gapPages);
  files.push({ path, size, mtimeNs, inode, chunkPages, extents });
  recorded.push(path);
  probed.push({ path, sure: used.map((extent) => ({ ...extent, hits: 1, weight: 1, how: 'mapped' })) });
  figures.filePages += all;
  figures.usedPages += pageCount(used);
  figures.plannedPages += pageCount(extents);
  figures.gapPages += pageCount(extents) - pageCount(used);
  figures.usedExtents += used.length;
  figures.plannedExtents += extents.length;
  figures.calls += extents.reduce((sum, { count }) => sum + Math.ceil(count / chunkPages), 0);
}

/** What the recordings say of the file that stands for `file` now. */
function replaced(file: WorkingFile, { dropped, added }: Replacement, { runs }: WorkingSet): WorkingFile {
  const always = { hits: file.runs, weight: fullWeight(runs, file.otherRuns), how: 'mapped' } as const;
  const extents = [
    ...subtract(subtract(file.extents, dropped), added),
    ...added.map((extent) => ({ ...extent, ...always })),
  ];
  return { ...file, extents: extents.sort((a, b) => a.page - b.page) };
}

function addFigures(
  figures: Collected['figures'],
  file: WorkingFile,
  planned: PlannedFile,
  chosen: { usedPages: number; unsurePages: number; gapPages: number },
): void {
  figures.filePages += pagesIn(planned.size);
  figures.usedPages += chosen.usedPages;
  figures.unsurePages += chosen.unsurePages;
  figures.gapPages += chosen.gapPages;
  figures.plannedPages += chosen.usedPages - chosen.unsurePages + chosen.gapPages;
  figures.usedExtents += file.extents.length;
  figures.plannedExtents += planned.extents.length;
  figures.calls += planned.extents.reduce((sum, { count }) => sum + Math.ceil(count / planned.chunkPages), 0);
}

/** Where symbolic links lead, as a path inside the root; undefined where they lead nowhere. */
function resolver(root: string | undefined): (path: string) => string | undefined {
  if (root !== undefined) {
    const prefix = root === '/' ? 0 : root.length;
    return (path) => insideRoot(root, path).slice(prefix) || '/';
  }
  return (path) => {
    try {
      return realpathSync.native(path);
    } catch (error) {
      if (errnoOf(error) !== undefined) return undefined;
      throw error;
    }
  };
}

/** The look-ups worth repeating. @param files paths of the planned files as they were recorded. */
function collectLookups(
  used: WorkingSet,
  files: readonly string[],
  resolve: (path: string) => string | undefined,
): AnchoredLookup[] {
  const byPath = new Map(files.map((path, index) => [path, index]));
  const enough = SURE_ENOUGH * fullWeight(used.runs, 0);
  const isKept = ({ path, weight }: WorkingLookup): boolean =>
    weight >= enough && path.startsWith('/') && path.length < PAGE_SIZE && !NOT_ON_DISK.test(path);
  return used.lookups
    .filter(isKept)
    .slice(0, MOST_LOOKUPS)
    .map(({ path, found }) => {
      const file = found ? byPath.get(resolve(path) ?? path) : undefined;
      const lookup = { path, found, isOpened: byPath.has(path) };
      return file === undefined ? lookup : { ...lookup, leadsTo: file };
    });
}
