/**
 * Thorough or light: what the next recording of a command should be.
 *
 * Problem: a thorough recording costs the program half its time again and more, a light one next to
 * nothing; but a light one sees no look-ups, and its pages are rounded up. Example: gcc on one source file
 * uses the same 2900 pages each time, until it is updated. Method: a command is learnt by two thorough runs
 * that agree: the same content of the same files, and all but one in a thousand of the pages. Where they do not, as
 * those of chromium, it is learnt by LEARNING_RUNS. From then on runs are light, and one that saw what nobody has seen before makes the
 * next one thorough: a file, a file's other content, or more than a handful of pages. All of it is derived
 * from the runs; the profile stores nothing for it.
 * Light pages are rounded up by fault-around to windows of 16 pages, so known pages are widened by as much
 * on both sides before they are compared. Since Linux 6.18 it brings whole large folios, up to 2 MiB: that is
 * taken for news once, and known from then on.
 * Once a week a run is thorough all the same: what only look-ups or read() would show is not noticed before.
 * Limits: a data file whose content
 * has changed between earlier runs (an index, a cache) is expected to change. What is new each time makes every second run thorough;
 * what a thorough run has not confirmed is not asked for again while the light run is remembered.
 */
import { pageIndex } from '../base/brands.ts';
import { commonPages, joinExtents, pageCount } from './extents.ts';
import { sameContent } from './identity.ts';
import type { Command, Extent, FileIdentity, Profile, Run } from './model.ts';
import { commandKey } from './name.ts';
import { isLight } from './order.ts';

export const LEARNING_RUNS = 3;
/** The note of a recording from inside that did not see everything. */
export const PARTLY_INSIDE = 'N_PARTLY_INSIDE';
/** Pages that only one of two runs used, of all. */
const AGREEING = 0.001;
const STALE_MS = 7 * 24 * 3600 * 1000;
/** Fewer new pages than this are taken for chance: 256 KiB. */
const FEW_PAGES = 64;
const FEW_OF_ALL = 0.01;
/** Pages that fault-around may bring on either side of one that was touched. */
const ROUNDED = 15;

/** What a run used that earlier ones had not. */
export interface News {
  readonly newFiles: readonly string[];
  readonly changedFiles: readonly string[];
  /** Pages of files that were known. */
  readonly pages: number;
}

export type NextRecording =
  | { readonly how: 'light' }
  /** At most `missing` thorough runs until the command is learnt. */
  | { readonly how: 'thorough'; readonly why: 'learning'; readonly missing: number }
  | { readonly how: 'thorough'; readonly why: 'news'; readonly news: News }
  | { readonly how: 'thorough'; readonly why: 'stale' };

const isThorough = ({ method }: Run): boolean => method.lookups === 'seen' && method.functions === 'unseen';

/** @param now milliseconds since the epoch. */
export function nextRecording(
  profile: Profile | undefined,
  command: Command,
  now = Date.now(),
): NextRecording {
  const key = commandKey(command);
  const runs = (profile?.runs ?? []).filter((run) => commandKey(run.command) === key);
  const thorough = runs.filter(isThorough);
  const missing = LEARNING_RUNS - thorough.length;
  if (missing > 0 && !agree(thorough)) return { how: 'thorough', why: 'learning', missing };
  const asked = runs.findIndex(isThorough);
  const earlier = (profile?.runs ?? []).filter((run) => !runs.slice(0, asked).includes(run));
  for (const run of runs.slice(0, asked)) {
    if (!isLight(run)) continue;
    const news = newsOf(run, earlier);
    if (isWorthALook(news, run)) return { how: 'thorough', why: 'news', news };
  }
  const stale = now - (runs[asked]?.startedAt ?? 0) > STALE_MS;
  return stale ? { how: 'thorough', why: 'stale' } : { how: 'light' };
}

/**
 * Whether a remembered run of the command that was recorded from inside did not see everything (a static child, an end by a
 * signal): thorough ones are made by the tracer, then.
 */
export function nextIsTraced(profile: Profile | undefined, command: Command): boolean {
  const key = commandKey(command);
  const runs = (profile?.runs ?? []).filter((run) => commandKey(run.command) === key);
  return runs.some(({ notes }) => notes.some(({ code }) => code === PARTLY_INSIDE));
}

function isWorthALook({ newFiles, changedFiles, pages }: News, run: Run): boolean {
  if (newFiles.length + changedFiles.length > 0) return true;
  const all = run.processes.flatMap((process) => process.pages.map(({ extents }) => pageCount(extents)));
  const sum = all.reduce((total, count) => total + count, 0);
  return pages > Math.max(FEW_PAGES, sum * FEW_OF_ALL);
}

/** Whether the newest two used the same. */
function agree([newest, before]: readonly Run[]): boolean {
  if (newest === undefined || before === undefined) return false;
  const some = usesOf(newest).filter(({ extents }) => extents.length > 0);
  const others = new Map(
    usesOf(before)
      .filter(({ extents }) => extents.length > 0)
      .map((use) => [use.path, use]),
  );
  if (some.length !== others.size) return false;
  let all = 0;
  let apart = 0;
  for (const { path, identity, extents } of some) {
    const other = others.get(path);
    if (other === undefined || !sameContent(other.identity, identity)) return false;
    const [count, otherCount] = [pageCount(extents), pageCount(other.extents)];
    const common = commonPages(extents, other.extents);
    all += count + otherCount - common;
    apart += count + otherCount - 2 * common;
  }
  return apart <= all * AGREEING;
}

/** What `run` used that none of the `earlier` ones had. */
export function newsOf(run: Run, earlier: readonly Run[]): News {
  const known = new Map<string, { identities: FileIdentity[]; uses: Use[] }>();
  for (const { path, identity, extents } of earlier.flatMap(usesOf)) {
    const entry = known.get(path) ?? { identities: [], uses: [] };
    known.set(path, entry);
    if (!entry.identities.some((one) => sameContent(one, identity))) entry.identities.push(identity);
    entry.uses.push({ path, identity, extents });
  }
  const newFiles: string[] = [];
  const changedFiles: string[] = [];
  let pages = 0;
  for (const { path, identity, extents } of usesOf(run)) {
    const entry = known.get(path);
    if (extents.length === 0) continue;
    if (entry === undefined) newFiles.push(path);
    else if (entry.identities.some((one) => sameContent(one, identity))) {
      const same = entry.uses.filter((use) => sameContent(use.identity, identity));
      pages += pageCount(extents) - commonPages(extents, widen(same.flatMap((use) => use.extents)));
    } else if (identity.buildId !== undefined || entry.identities.length === 1) changedFiles.push(path);
  }
  return { newFiles, changedFiles, pages };
}

interface Use {
  readonly path: string;
  readonly identity: FileIdentity;
  readonly extents: readonly Extent[];
}

/** The files of a run with all pages that any of its processes used. */
function usesOf(run: Run): Use[] {
  const extents = run.files.map((): Extent[] => []);
  for (const { pages } of run.processes) for (const used of pages) extents[used.file]?.push(...used.extents);
  return run.files.map(({ path, identity }, index) => ({
    path,
    identity,
    extents: joinExtents(extents[index] ?? []),
  }));
}

const widen = (extents: readonly Extent[]): Extent[] =>
  joinExtents(
    extents.map(({ page, count }) => {
      const from = Math.max(0, page - ROUNDED);
      return { page: pageIndex(from), count: page + count + ROUNDED - from };
    }),
  );
