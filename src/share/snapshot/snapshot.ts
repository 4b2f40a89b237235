/**
 * The differential snapshot: several runs of a program's loader, stopped before the first constructor.
 *
 * Problem. What the loader leaves in memory is the program's for the most part, and this process's in a few places.
 * Nothing says which.
 *
 * Example. Of inkscape's 1,463 relocated pages three hold such words: the stack guard, the address of argv, the
 * thread's id.
 *
 * Method. Run the loader three times or more, in other circumstances each time (circumstances.ts), with modules at
 * the same distances from each other (arena.ts) and the anchors at others (anchors.ts). All runs are held until they
 * are compared.
 *
 * Limits. What is the same in all runs is taken to be always the same: the kernel, the processor's kind, the files.
 * Guards at each start check these (guards.ts).
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import {
  type AnchorBases,
  basesOf,
  type Extents,
  extentsOf,
  isInOrder,
  othersOf,
  tellApart,
} from './anchors.ts';
import { circumstancesOf } from './circumstances.ts';
import type { ProgramToLink } from './eligible.ts';
import { runLoader, type StoppedLoader } from './loader-run.ts';
import { Refusal } from './refusal.ts';
import { type Region, regionsOf, requireSameRegions } from './regions.ts';

export interface SnapshotRun {
  readonly stopped: StoppedLoader;
  readonly bases: AnchorBases;
}

export interface Snapshot {
  readonly program: ProgramToLink;
  /** The first run: it has the caller's own limits. The image has its values. */
  readonly reference: SnapshotRun;
  /** All of them. */
  readonly runs: readonly SnapshotRun[];
  readonly extents: Extents;
  readonly regions: readonly Region[];
}

const HUGE_PAGE = 2 ** 21;
const MOST_ALIGN = 2 ** 30;
/** Two anchors that slide alike by chance: less than once in a million. */
const MOST_ATTEMPTS = 8;

/**
 * Takes a snapshot, gives it to `use` while its processes are there, and ends them.
 *
 * @throws Refusal where the loader cannot be followed or does not do the same each time.
 */
export function withSnapshot<T>(program: ProgramToLink, count: number, use: (snapshot: Snapshot) => T): T {
  const runs: SnapshotRun[] = [];
  try {
    const { run: reference, extents } = referenceRun(program, runs);
    const regions = regionsOf(reference.stopped, reference.bases, extents);
    for (let index = 1; index < count; index++) {
      const { stopped, bases } = furtherRun(program, runs, extents);
      requireSameRegions(regions, regionsOf(stopped, bases, extents));
      requireSameLookups(reference.stopped, stopped);
    }
    return use({ program, reference, runs, extents, regions });
  } finally {
    for (const { stopped } of runs) stopped.end();
  }
}

/** Adds a run to those that will be ended. */
function startRun(program: ProgramToLink, runs: SnapshotRun[], align: number): SnapshotRun {
  const stopped = runLoader(
    program.path,
    circumstancesOf(program.path, runs.length, program.libraryPath),
    align,
  );
  const run = { stopped, bases: basesOf(stopped, program) };
  runs.push(run);
  return run;
}

/** Modules may ask for more than a huge page's alignment; that is known when they have been mapped. */
function referenceRun(
  program: ProgramToLink,
  runs: SnapshotRun[],
): { readonly run: SnapshotRun; readonly extents: Extents } {
  let align = HUGE_PAGE;
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    const run = startRun(program, runs, align);
    const extents = extentsOf(run.stopped, program);
    if (extents.arena.align > MOST_ALIGN) {
      throw new Refusal('a module with a huge alignment', `${extents.arena.align} bytes`);
    }
    if (extents.arena.align <= align && isInOrder(run.bases, extents)) return { run, extents };
    align = Math.max(align, extents.arena.align);
    runs.pop()?.stopped.end();
  }
  throw outOfOrder();
}

const outOfOrder = (): Refusal =>
  new Refusal(
    'addresses that do not tell apart',
    'the kernel must place programs, the loader and the stack at random, the program below the loader: sysctl kernel.randomize_va_space=2',
  );

/** Adds a run whose anchors slide differently. */
function furtherRun(program: ProgramToLink, runs: SnapshotRun[], extents: Extents): SnapshotRun {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    // No more alignment than is asked for: the lower bits of addresses must differ too.
    const run = startRun(program, runs, Math.max(PAGE_SIZE, extents.arena.align));
    const places = runs.map(({ stopped, bases }) => ({ bases, others: othersOf(stopped) }));
    if (isInOrder(run.bases, extents) && tellApart(places, program.isFixed)) return run;
    runs.pop()?.stopped.end();
  }
  throw outOfOrder();
}

/** Modules found through the current folder, or the environment, are not found again. */
function requireSameLookups(one: StoppedLoader, other: StoppedLoader): void {
  const left = one.calls.lookups;
  const right = other.calls.lookups;
  const at = left.findIndex(({ path, found }, i) => path !== right[i]?.path || found !== right[i]?.found);
  if (at < 0 && left.length === right.length) return;
  const path = (left[at] ?? right[left.length])?.path;
  throw new Refusal('the loader looks elsewhere in other circumstances', path);
}
