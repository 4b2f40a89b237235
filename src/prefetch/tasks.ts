/**
 * The order of work. Workers take tasks one after another from this list, so the list says it all:
 * look-ups stand in front of the file that the program opened after them.
 *
 * Problem: files and look-ups are recorded in two lists, each in its own order of first use. Example:
 * look-ups `a` (missing), `b/libz.so` (found), files `prog`, `libz.so`: `a` was looked up before libz.so
 * was opened, so it belongs between prog and libz.so. Method: look-ups that found a planned file are the
 * anchors; what was looked up before an anchor goes before its file. Limits: without any anchor the
 * look-ups are spread evenly over the files.
 */
import type { PlannedFile, PlannedLookup, Task } from './model.ts';

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

function* lookupTasks(from: number, to: number): Generator<Task> {
  for (let first = from; first < to; first += TASK_LOOKUPS) {
    yield { kind: 'lookups', first, count: Math.min(TASK_LOOKUPS, to - first) };
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

/** @param lookups in the order of first use. */
export function orderWork(files: readonly PlannedFile[], lookups: readonly AnchoredLookup[]): OrderedWork {
  const before = places(lookups, files.length);
  const kept = lookups.flatMap(({ path, found, isOpened }, index) =>
    isOpened ? [] : [{ path, found, place: before[index] ?? files.length }],
  );
  const tasks: Task[] = [];
  let done = 0;
  files.forEach((file, index) => {
    let end = done;
    while (end < kept.length && (kept[end]?.place ?? 0) <= index) end += 1;
    tasks.push(...lookupTasks(done, end), ...fileTasks(file, index));
    done = end;
  });
  tasks.push(...lookupTasks(done, kept.length));
  return { lookups: kept.map(({ path, found }) => ({ path, found })), tasks };
}
