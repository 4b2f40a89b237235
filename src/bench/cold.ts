/**
 * Cold starts: empty the caches before a run, and say what could not be emptied.
 *
 * Problem: the kernel does not drop pages that a process has mapped. libc is always mapped, and Node's
 * own executable is, because winnow runs on it: a "cold" run of node is not.
 * Method: as root, ask for each file of the working set with posix_fadvise, then write 3 to
 * /proc/sys/vm/drop_caches (this also drops inodes and directory entries). Without root, posix_fadvise
 * alone: data only, path look-ups stay warm. Then look which pages of the working set
 * are still there (mincore; without root it tells only of files that one owns, and the rest counts as
 * gone).
 * Limits: a virtual machine's host may cache the device. The bench suite mounts a file system afresh
 * instead, where nothing is mapped.
 */

import { spawnSync } from 'node:child_process';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { PAGE_SIZE } from '../base/brands.ts';
import { dropPages, residentPages } from '../sys/page-cache.ts';
import type { ColdState } from './model.ts';
import { median } from './stats.ts';

/** A file of the working set and its pages, as runs of pages. */
export interface WorkingFile {
  readonly path: string;
  readonly extents: readonly { readonly page: number; readonly count: number }[];
}

export interface ColdMaker {
  readonly method: 'drop-caches' | 'fadvise';
  /** Empties the caches; call right before each run. */
  empty(): void;
  /** What stayed in memory, over all calls so far. */
  state(): ColdState;
}

const DROP_CACHES = '/proc/sys/vm/drop_caches';

/** Whether this process may empty all caches. Containers often may not, also as root. */
export function mayDropCaches(): boolean {
  try {
    closeSync(openSync(DROP_CACHES, 'w'));
    return true;
  } catch {
    return false;
  }
}

/** @returns undefined when neither way is open: not root, and no files known. */
export function coldMaker(files: readonly WorkingFile[], dropCaches: boolean): ColdMaker | undefined {
  if (!dropCaches && files.length === 0) return undefined;
  const workingSetBytes = files.reduce((sum, file) => sum + pagesOf(file) * PAGE_SIZE, 0);
  const residents: number[] = [];
  let residentFiles: ColdState['residentFiles'] = [];
  const method = dropCaches ? 'drop-caches' : 'fadvise';
  return {
    method,
    empty() {
      for (const file of files) withFile(file.path, dropPages);
      if (dropCaches) {
        // Dirty pages are not dropped.
        spawnSync('sync');
        writeFileSync(DROP_CACHES, '3');
      }
      const left = files.map((file) => ({ path: file.path, bytes: residentBytes(file) ?? 0 }));
      residents.push(left.reduce((sum, file) => sum + file.bytes, 0));
      residentFiles = left.filter((file) => file.bytes > 0).sort((a, b) => b.bytes - a.bytes);
    },
    state: () => ({
      method,
      ...(files.length === 0 || residents.length === 0
        ? {}
        : { residentBytes: median(residents), workingSetBytes }),
      residentFiles: residentFiles.slice(0, 10),
    }),
  };
}

const pagesOf = (file: WorkingFile): number => file.extents.reduce((sum, extent) => sum + extent.count, 0);

/** Undefined where the kernel does not tell. */
function residentBytes(file: WorkingFile): number | undefined {
  return withFile(file.path, (fd) => {
    const resident = residentPages(fd);
    if (resident === undefined) return undefined;
    let found = 0;
    for (const { page, count } of file.extents) {
      for (let i = page; i < page + count; i += 1) found += resident[i] ?? 0;
    }
    return found * PAGE_SIZE;
  });
}

/** A file that is gone or unreadable is skipped: it cannot be prefetched either. */
function withFile<T>(path: string, body: (fd: number) => T): T | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    return body(fd);
  } finally {
    closeSync(fd);
  }
}
