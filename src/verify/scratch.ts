/**
 * Scratch folders: every run finds the same paths, fresh, and leaves its tree behind to be compared.
 *
 * The layout under the session's folder: `at/work` (current folder, filled with a copy of --in),
 * `at/tmp` (TMPDIR), `at/home` (HOME, when asked for), `at/stdout` and `at/stderr` beside them. After a
 * run `at` is renamed to `plain-1`, `image-1` and so on; the next run gets a new one at the same path.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { explainErrno, WinnowError } from '../base/errors.ts';

export interface Scratch {
  /** The session's folder; `drop` removes it. */
  readonly root: string;
  readonly work: string;
  readonly tmp: string;
  readonly home: string;
  readonly stdout: string;
  readonly stderr: string;
}

function unusable(what: string, where: string, cause?: unknown): WinnowError {
  return new WinnowError({
    code: 'E_SCRATCH_COPY',
    kind: 'environment',
    what,
    where,
    next: 'check that the folder exists, is readable, and that there is room under TMPDIR',
    cause,
  });
}

/**
 * Makes the session's folder, readable by its owner alone.
 * @throws WinnowError `E_SCRATCH_COPY` where TMPDIR has no place for it.
 */
export function openScratch(): Scratch {
  const root = makeSessionFolder();
  const at = join(root, 'at');
  return {
    root,
    work: join(at, 'tree', 'work'),
    tmp: join(at, 'tree', 'tmp'),
    home: join(at, 'tree', 'home'),
    stdout: join(at, 'stdout'),
    stderr: join(at, 'stderr'),
  };
}

function makeSessionFolder(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'winnow-verify-'));
  } catch (error) {
    throw explainErrno(error, (errno) =>
      unusable(`no scratch folder can be made: ${errno}`, tmpdir(), error),
    );
  }
}

/**
 * Makes fresh folders for the next run.
 * @throws WinnowError `E_SCRATCH_COPY` when `copyOf` cannot be copied, or the disk is full.
 */
export function freshFolders(scratch: Scratch, copyOf: string | undefined): void {
  try {
    for (const folder of [scratch.work, scratch.tmp, scratch.home]) mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw explainErrno(error, (errno) =>
      unusable(`no scratch folder can be made: ${errno}`, scratch.root, error),
    );
  }
  if (copyOf === undefined) return;
  // cp -a keeps links, modes and times to the nanosecond, which fs.cp does not.
  const copy = spawnSync('cp', ['-a', '--', `${copyOf}/.`, scratch.work], { encoding: 'utf8' });
  if (copy.status === 0) return;
  const why = (copy.stderr || String(copy.error)).trim().split('\n')[0];
  throw unusable(`the folder could not be copied: ${why}`, copyOf);
}

/** Puts a run's folders aside under `label`; the path they had is free again. Returns the new place. */
export function putAside(scratch: Scratch, label: string): string {
  const target = join(scratch.root, label);
  renameSync(join(scratch.root, 'at'), target);
  return target;
}

/** Removes the session's folder, also what a program made unwritable. */
export function dropScratch(scratch: Scratch): void {
  try {
    rmSync(scratch.root, { recursive: true, force: true });
  } catch {
    makeWritable(scratch.root);
    rmSync(scratch.root, { recursive: true, force: true });
  }
}

function makeWritable(folder: string): void {
  chmodSync(folder, 0o700);
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (lstatSync(path).isDirectory()) makeWritable(path);
  }
}
