/**
 * The folder of a recording from inside, and those of recorders that were killed.
 *
 * Problem: who is ended by SIGKILL removes nothing, and what lies in memory takes room there until the machine is started anew.
 * Method: a recorder holds the lock of its folder, which the kernel drops however it dies; the next one removes folders of
 * this user that nobody holds. Example: `kill -9` of winnow leaves /dev/shm/winnow-inside-x; `winnow record -- true` removes it.
 * A folder that has just been made may not be locked yet, so young ones are left alone.
 */
import { closeSync, constants, lstatSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tryLock } from '../../sys/flock.ts';

/** A file system in memory on every Linux; a log there is never written to a disk. */
const SHARED_MEMORY = '/dev/shm';
const PREFIX = 'winnow-inside-';
const YOUNG_MS = 60_000;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export interface SessionFolder {
  readonly path: string;
  /** Removes it. */
  close(): void;
}

/** @throws Error where there is no place for one. */
export function openSessionFolder(): SessionFolder {
  const path = makeFolder();
  const lock = openSync(path, FOLDER);
  try {
    tryLock(lock);
  } catch {
    // No locks there: nobody else gets this one either.
  }
  return {
    path,
    close() {
      rmSync(path, { recursive: true, force: true });
      closeSync(lock);
    },
  };
}

function makeFolder(): string {
  for (const place of [SHARED_MEMORY, tmpdir()]) {
    sweep(place);
    try {
      return mkdtempSync(join(place, PREFIX));
    } catch (error) {
      if (place !== SHARED_MEMORY) throw error;
    }
  }
  throw new Error('no place');
}

/** Removes what recorders of this user that are dead have left. */
function sweep(place: string): void {
  for (const name of namesIn(place)) {
    if (!name.startsWith(PREFIX)) continue;
    try {
      removeUnheld(join(place, name));
    } catch {
      // Gone meanwhile, or not to be removed by us.
    }
  }
}

function namesIn(place: string): readonly string[] {
  try {
    return readdirSync(place);
  } catch {
    return [];
  }
}

function removeUnheld(path: string): void {
  const { uid, mtimeMs } = lstatSync(path);
  if (uid !== process.getuid?.() || Date.now() - mtimeMs < YOUNG_MS) return;
  const fd = openSync(path, FOLDER);
  try {
    if (tryLock(fd)) rmSync(path, { recursive: true, force: true });
  } finally {
    closeSync(fd);
  }
}
