/**
 * The store's dealings with the file system: trust, locks, writing whole files or nothing.
 *
 * A store is trusted only if it belongs to its user or root and nobody else can write it: what it says
 * decides which files are read at each start. Every check is made on the open descriptor, so the file
 * that was checked is the file that is read.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errnoOf, WinnowError } from '../base/errors.ts';
import { tryLock } from '../sys/flock.ts';
import {
  importFailure,
  storeBusy,
  storeFailure,
  storeNotAFolder,
  storeOwner,
  storeWritable,
} from './store-errors.ts';

const LOCK_WAIT_MS = 30_000;
const LOCK_POLL_MS = 5;
const OTHERS_WRITE = 0o022;

/** @throws WinnowError E_STORE_OWNER, E_STORE_WRITABLE */
function checkTrusted(stat: Stats, path: string): void {
  if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) throw storeOwner(path, stat.uid);
  if ((stat.mode & OTHERS_WRITE) !== 0) throw storeWritable(path);
}

/**
 * Checks a folder of the store.
 * @returns its mode, or undefined where it does not exist.
 * @throws WinnowError E_STORE_OWNER, E_STORE_WRITABLE, E_STORE_NOT_A_FOLDER, E_STORE_DENIED
 */
export function trustedFolder(path: string): number | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw storeFailure(error, path);
  }
  try {
    const stat = fstatSync(fd);
    checkTrusted(stat, path);
    return stat.mode;
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a folder and its parents. Node's own recursive mkdir never returns where a folder can never be
 * made (/proc/none/x; Node 20).
 * @throws what mkdir throws
 */
export function makeFolders(path: string): void {
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    const parent = dirname(path);
    // Where the parent is there, also as a link that leads nowhere, no more can be done.
    if (errnoOf(error) !== 'ENOENT' || parent === path || lstatSync(parent, { throwIfNoEntry: false }))
      throw error;
    makeFolders(parent);
    makeFolders(path);
  }
}

/** Makes the folder and its parents; the folder itself gets `mode` whatever the umask. */
export function makeFolder(path: string, mode: number): void {
  if (trustedFolder(path) !== undefined) return;
  try {
    makeFolders(dirname(path));
    mkdirSync(path, { mode });
    chmodSync(path, mode);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw storeFailure(error, path);
  }
  if (trustedFolder(path) === undefined) throw storeNotAFolder(path);
}

/**
 * Checks a file of the store that somebody else opens: the kernel, or the launcher.
 * @returns whether it is there.
 * @throws WinnowError E_STORE_OWNER, E_STORE_WRITABLE, E_STORE_NOT_A_FOLDER
 */
export function checkTrustedFile(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (!stat.isFile()) throw storeNotAFolder(path);
  checkTrusted(stat, path);
  return true;
}

/**
 * The bytes of a trusted file, or undefined where it does not exist.
 * @throws WinnowError E_STORE_OWNER, E_STORE_WRITABLE, E_STORE_DENIED, E_STORE_IO
 */
export function readTrusted(path: string): Uint8Array | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw storeFailure(error, path);
  }
  try {
    checkTrusted(fstatSync(fd), path);
    return readFileSync(fd);
  } catch (error) {
    throw storeFailure(error, path);
  } finally {
    closeSync(fd);
  }
}

/**
 * The bytes of a file that a person named, outside any store.
 * @throws WinnowError E_CANNOT_READ
 */
export function readOutside(path: string): Uint8Array {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!fstatSync(fd).isFile()) throw importFailure(path, 'it is not a regular file');
      return readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw error instanceof WinnowError ? error : importFailure(path, errnoOf(error) ?? String(error));
  }
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/**
 * Runs `work` while this process alone holds the lock file. A dead holder holds nothing.
 * @throws WinnowError E_STORE_BUSY after `waitMs`
 */
export function withLock<T>(path: string, work: () => T, waitMs = LOCK_WAIT_MS): T {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw storeFailure(error, path);
  }
  try {
    const until = performance.now() + waitMs;
    while (!tryLock(fd)) {
      if (performance.now() >= until) throw storeBusy(path, Math.round(waitMs / 1000));
      sleep(LOCK_POLL_MS);
    }
    return work();
  } finally {
    closeSync(fd);
  }
}

/** Writes all of `bytes`, however many calls that takes. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

const temporaryOf = (path: string): string =>
  join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);

const TEMPORARY = /^\..+\.[0-9a-f]{12}\.tmp$/;

/** Removes a temporary file, if it was made. Where that fails the disk has failed, and has said so. */
export function removeTemporary(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

/** Removes what killed writers left in a folder. The caller holds the folder's lock. */
export function removeLeftovers(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (TEMPORARY.test(name)) rmSync(join(folder, name), { force: true });
  }
}

/** After a rename in it: the new name outlives a power cut. */
export function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * The same for what can be made anew: a reader finds all of it or nothing, but a power cut may damage it, so
 * it needs a checksum.
 * @throws WinnowError E_STORE_FULL, E_STORE_DENIED, E_STORE_IO
 */
export function replaceCached(path: string, ...parts: readonly Uint8Array[]): void {
  const temporary = temporaryOf(path);
  try {
    const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      for (const part of parts) writeAll(fd, part);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    throw storeFailure(error, path);
  } finally {
    removeTemporary(temporary);
  }
}

/**
 * Puts `bytes` at `path` so that a reader, a kill or a power cut finds the old file or the new one.
 * @throws WinnowError E_STORE_FULL, E_STORE_DENIED, E_STORE_IO; the old file is unchanged then.
 */
export function replaceFile(path: string, bytes: Uint8Array, mode: number, failure = storeFailure): void {
  const temporary = temporaryOf(path);
  try {
    const fd = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
    try {
      fchmodSync(fd, mode);
      writeAll(fd, bytes);
      // Without it a power cut after the rename may leave an empty file under the final name.
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    throw failure(error, path);
  } finally {
    removeTemporary(temporary);
  }
}
