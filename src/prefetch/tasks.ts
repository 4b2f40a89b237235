/**
 * The order of work. Workers take tasks one after another from this list, so the list says it all:
 * look-ups stand in front of the file that the program opened after them.
 *
 * Problem: files and look-ups are recorded in two lists, each in its own order of first use. Example:
 * look-ups `a` (missing), `b/libz.so` (found), files `prog`, `libz.so`: `a` was looked up before libz.so
 * was opened, so it belongs between prog and libz.so. Method: look-ups that found a planned file are the
 * anchors; what was looked up before an anchor goes before its file. Limits: without any anchor the
 * look-ups are spread evenly over the files.
 *
 * Problem: a disk serves requests one after the other, and data is asked for without waiting. A look-up is
 * a few small reads of which each waits for the one before, so behind data it waits for megabytes at each. Example: with
 * a rewritten python3 the launcher looks up 29 originals and their copies, 17 reads from folders and inodes, before it
 * executes the program. Method: what is urgent (`urgent.ts`) stands in front of everything, its look-ups in as many tasks as there are
 * workers, so that none of them asks for data meanwhile. Limits: all data comes later by that.
 */
import type { PlannedFile, PlannedLookup, Task } from './model.ts';
import type { Urgent } from './urgent.ts';

/** A task of more pages is split: several workers then ask for a large file at the same time. */
const TASK_PAGES = 1024;
const TASK_EXTENTS = 256;
/** Few enough that the workers share what one folder holds up. */
const TASK_LOOKUPS = 16;

function* fileTasks(file: PlannedFile, index: number): Generator<Task> {
  let first = 0;
  let pages = 0;
  for (const [at, extent] of file.extents.entries()) {
    if (at > first && (pages + extent.count > TASK_PAGES || at - first === TASK_EXTENTS)) {
      yield { kind: 'file', file: index, first, count: at - first };
      first = at;
      pages = 0;
    }
    pages += extent.count;
  }
  if (first < file.extents.length) {
    yield { kind: 'file', file: index, first, count: file.extents.length - first };
  }
}

function* lookupTasks(from: number, to: number, most = TASK_LOOKUPS): Generator<Task> {
  for (let first = from; first < to; first += most) {
    yield { kind: 'lookups', first, count: Math.min(most, to - first) };
  }
}

/** A look-up, and the planned file that it leads to, if it does. */
export interface AnchoredLookup extends PlannedLookup {
  readonly leadsTo?: number;
  /** The path is the file's own: opening the file looks it up. */
  readonly isOpened: boolean;
}

/** For each look-up, the index of the file in front of which it belongs; ascending. */
function places(lookups: readonly AnchoredLookup[], files: number): number[] {
  if (lookups.every(({ leadsTo }) => leadsTo === undefined)) {
    return lookups.map((_, index) => Math.floor((index * files) / lookups.length));
  }
  const found: number[] = [];
  let next = files;
  for (const lookup of [...lookups].reverse()) {
    // Looked up early, opened late: the earlier file decides, or the list would not ascend.
    next = Math.min(lookup.leadsTo ?? next, next);
    found.push(next);
  }
  return found.reverse();
}

export interface OrderedWork {
  readonly lookups: readonly PlannedLookup[];
  /** In the order in which they are to be taken. */
  readonly tasks: readonly Task[];
}

const NOTHING_URGENT: Urgent = { paths: [], files: [] };

/**
 * @param lookups in the order of first use.
 * @param workers how many take tasks.
 */
export function orderWork(
  files: readonly PlannedFile[],
  lookups: readonly AnchoredLookup[],
  { urgent = NOTHING_URGENT, workers = 1 }: { readonly urgent?: Urgent; readonly workers?: number } = {},
): OrderedWork {
  const before = places(lookups, files.length);
  const kept = lookups.flatMap(({ path, found, isOpened }, index) =>
    isOpened ? [] : [{ path, found, place: before[index] ?? files.length }],
  );
  const first = urgent.paths.length;
  const share = Math.min(TASK_LOOKUPS, Math.ceil(first / workers));
  const tasks: Task[] = [...lookupTasks(0, first, share)];
  let done = 0;
  const lookUp = (end: number): void => {
    tasks.push(...lookupTasks(first + done, first + end));
    done = end;
  };
  const early = new Set(urgent.files);
  for (const index of early) tasks.push(...tasksOf(files, index));
  files.forEach((_, index) => {
    let end = done;
    while (end < kept.length && (kept[end]?.place ?? 0) <= index) end += 1;
    lookUp(end);
    if (!early.has(index)) tasks.push(...tasksOf(files, index));
  });
  lookUp(kept.length);
  const all = [
    ...urgent.paths.map((path) => ({ path, found: true })),
    ...kept.map(({ path, found }) => ({ path, found })),
  ];
  return { lookups: all, tasks };
}

function* tasksOf(files: readonly PlannedFile[], index: number): Generator<Task> {
  const file = files[index];
  if (file !== undefined) yield* fileTasks(file, index);
}
