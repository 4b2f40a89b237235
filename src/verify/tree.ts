/** A folder's tree as data: what is compared of the files that a run wrote. */
import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import type { Aspect } from './model.ts';

/** What is compared of one entry, in words. `content` is a digest; times and inodes are left out. */
export type Entry = ReadonlyMap<Exclude<Aspect, 'presence'>, string>;
/** Entries by path relative to the folder; the folder itself is `.`. */
export type Tree = ReadonlyMap<string, Entry>;

/** Reads the tree under `folder`. Symbolic links are not followed. */
export function readTree(folder: string): Tree {
  const tree = new Map<string, Entry>();
  const visit = (relative: string): void => {
    const path = join(folder, relative);
    try {
      const stats = lstatSync(path, { bigint: true });
      tree.set(relative, entryOf(path, stats));
      if (!stats.isDirectory()) return;
      for (const name of readdirSync(path).sort()) visit(relative === '.' ? name : `${relative}/${name}`);
    } catch (error) {
      // A daemon that the program left behind (OpenMPI's) goes on removing its files.
      if (errnoOf(error) !== 'ENOENT' || relative === '.') throw error;
      tree.delete(relative);
    }
  };
  visit('.');
  return tree;
}

function entryOf(path: string, stats: BigIntStats): Entry {
  const entry = new Map<Exclude<Aspect, 'presence'>, string>([
    ['type', typeOf(stats)],
    ['mode', (Number(stats.mode) & 0o7777).toString(8).padStart(3, '0')],
    ['owner', `${stats.uid}:${stats.gid}`],
  ]);
  if (stats.isFile()) {
    entry.set('size', `${stats.size} bytes`);
    entry.set('content', digestOf(path));
  }
  if (stats.isSymbolicLink()) entry.set('target', readlinkSync(path));
  return entry;
}

function typeOf(stats: BigIntStats): string {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'folder';
  if (stats.isSymbolicLink()) return 'symbolic link';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isSocket()) return 'socket';
  return 'device';
}

const CHUNK = 1 << 20;

function digestOf(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    // Only its mode can forbid it: that is compared on its own.
    return 'unreadable';
  }
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.alloc(CHUNK);
    for (;;) {
      const count = readSync(fd, buffer, 0, CHUNK, null);
      if (count === 0) return hash.digest('hex');
      hash.update(buffer.subarray(0, count));
    }
  } finally {
    closeSync(fd);
  }
}
