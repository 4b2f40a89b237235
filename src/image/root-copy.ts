/**
 * A copy of a root file system in which the modules are rewritten ones: for containers, which need neither a
 * launcher nor mounts then.
 *
 * The copy is made beside its final place and renamed into it when it is whole. A module keeps its inode in
 * the copy, and with it owner, mode, extended attributes and hard links; only its content is another.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { usageError, type WinnowError } from '../base/errors.ts';
import { insideRoot, rootFolder } from '../profile/inside-root.ts';
import { writeAll } from '../profile/store-files.ts';
import type { BuiltSelect } from '../select/model.ts';
import { goesWithUs } from '../sys/temporary.ts';
import { describeSelect } from './describe.ts';
import { rootCopyFailure, rootNotCopied } from './image-errors.ts';
import type { SelectManifest } from './manifest.ts';

export interface RootCopyOptions {
  /** The root file system to copy; it is not touched. */
  readonly root: string;
  /** Where the copy is to be; nothing, or an empty folder. */
  readonly out: string;
}

export interface RootCopy {
  /** Absolute. */
  readonly path: string;
  readonly select: SelectManifest;
}

/**
 * @param select makes rewritten modules of the root in the folder that it is given.
 * @throws WinnowError E_USAGE, E_ROOT_COPY; what `select` throws. Nothing is left at `out` then.
 */
export async function copyRoot(
  options: RootCopyOptions,
  select: (folder: string, root: string) => Promise<BuiltSelect>,
): Promise<RootCopy> {
  const root = rootFolder(options.root);
  const out = resolve(options.out);
  checkOut(root, out);
  const temporary = `${out}.${randomBytes(6).toString('hex')}.tmp`;
  const modules = `${temporary}.modules`;
  const scratch = goesWithUs(modules, temporary);
  try {
    mkdirSync(modules, { mode: 0o700 });
    const built = await select(modules, root);
    copyTree(root, temporary);
    for (const { path, file } of built.modules)
      replaceContent(insideRoot(temporary, path), join(modules, file));
    if (lstatSync(out, { throwIfNoEntry: false }) !== undefined) rmdirSync(out);
    renameSync(temporary, out);
    return { path: out, select: describeSelect(built) };
  } catch (error) {
    throw rootCopyFailure(error, out);
  } finally {
    scratch.close();
    rmSync(temporary, { recursive: true, force: true });
  }
}

function checkOut(root: string, out: string): void {
  const refuse = (what: string, next: string): WinnowError => usageError(what, next, out);
  const isWithin = (inner: string, outer: string): boolean =>
    `${inner}${sep}`.startsWith(outer === sep ? sep : `${outer}${sep}`);
  if (isWithin(out, root) || isWithin(root, out))
    throw refuse(
      'the copy and the root file system lie in one another',
      'choose a folder elsewhere: --out DIR',
    );
  const there = statSync(out, { throwIfNoEntry: false });
  if (there === undefined) return;
  if (!there.isDirectory() || readdirSync(out).length > 0)
    throw refuse('there is something at the place of the copy', 'choose a new folder: --out DIR');
}

/** What is mounted in the root (/proc, /sys) is left out: it is the machine's, not the root's. */
function copyTree(from: string, to: string): void {
  const words = ['-a', '--reflink=auto', '--one-file-system', '--', from, to];
  const done = spawnSync('cp', words, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  if (done.error !== undefined) throw done.error;
  if (done.status === 0) return;
  throw rootNotCopied(done.stderr.trim().split('\n')[0] ?? '', to);
}

function replaceContent(path: string, by: string): void {
  const { atime, mtime, mode } = statSync(path);
  // What its owner may not write either.
  chmodSync(path, mode | 0o200);
  const fd = openSync(path, constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW);
  try {
    writeAll(fd, readFileSync(by));
  } finally {
    closeSync(fd);
  }
  chmodSync(path, mode);
  utimesSync(path, atime, mtime);
}
