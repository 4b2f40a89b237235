/** How a file is recognised again: stat, and build-id or hash for when it was installed anew. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { errnoOf, WinnowError } from '../base/errors.ts';
import { readBuildId } from '../elf/build-id.ts';
import type { FileIdentity } from './model.ts';

const WHOLE_HASH_BYTES = 4 * 1024 * 1024;
const END_BYTES = 64 * 1024;

/** The read loop stops early where the file has become shorter: the hash then fits nothing, rightly. */
function hashRange(hash: ReturnType<typeof createHash>, fd: number, from: number, to: number): void {
  const chunk = Buffer.allocUnsafe(Math.min(256 * 1024, Math.max(to - from, 0)));
  for (let at = from; at < to; ) {
    const got = readSync(fd, chunk, 0, Math.min(chunk.length, to - at), at);
    if (got === 0) return;
    hash.update(chunk.subarray(0, got));
    at += got;
  }
}

function contentHash(fd: number, size: number): string {
  const hash = createHash('sha256');
  if (size <= WHOLE_HASH_BYTES) {
    hashRange(hash, fd, 0, size);
    return `sha256:${hash.digest('hex')}`;
  }
  hashRange(hash, fd, 0, END_BYTES);
  hashRange(hash, fd, size - END_BYTES, size);
  hash.update(String(size));
  return `sha256-ends:${hash.digest('hex')}`;
}

/**
 * The identity of the regular file at `path` (symbolic links followed). A file that may not be read has
 * neither build-id nor hash.
 * @throws WinnowError E_NOT_A_FILE for folders, pipes and devices; what open and fstat throw (ENOENT).
 */
export function identifyFile(path: string): FileIdentity {
  let fd: number;
  try {
    // O_NONBLOCK: opening a named pipe for reading would wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (errnoOf(error) !== 'EACCES' && errnoOf(error) !== 'EPERM') throw error;
    return statIdentity(statSync(path, { bigint: true }), path);
  }
  try {
    const stat = statIdentity(fstatSync(fd, { bigint: true }), path);
    const buildId = readBuildId(fd, stat.size);
    // A linker given an empty or an endless id of the person's own says nothing about the content.
    const isUseful = buildId !== undefined && buildId.length >= 8 && buildId.length <= 128;
    return !isUseful ? { ...stat, hash: contentHash(fd, stat.size) } : { ...stat, buildId };
  } finally {
    closeSync(fd);
  }
}

interface BigStat {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ino: bigint;
  isFile(): boolean;
}

function statIdentity(stat: BigStat, path: string): FileIdentity {
  if (!stat.isFile()) {
    throw new WinnowError({
      code: 'E_NOT_A_FILE',
      kind: 'input',
      what: 'this is not a regular file',
      where: path,
      next: 'give the path of a file',
    });
  }
  return { size: Number(stat.size), mtimeNs: stat.mtimeNs, inode: stat.ino };
}

/** The same file, untouched since: size, modification time and inode. */
export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.size === b.size && a.mtimeNs === b.mtimeNs && a.inode === b.inode;
}

/**
 * The same content, perhaps installed anew: same size and same build-id (a stripped copy keeps the
 * build-id and moves pages), or same hash. Where neither is known of both, `sameFile` decides.
 */
export function sameContent(a: FileIdentity, b: FileIdentity): boolean {
  if (a.size !== b.size) return false;
  if (a.buildId !== undefined && b.buildId !== undefined) return a.buildId === b.buildId;
  if (a.hash !== undefined && b.hash !== undefined) return a.hash === b.hash;
  return sameFile(a, b);
}
