/**
 * Folders that go with this process: when whoever made them is done, or however the process ends.
 *
 * Problem: Ctrl-C in the middle of a build leaves what was made so far, hundreds of megabytes, and nobody who would
 * remove it. A handler in JavaScript would come too late, when the module that is being taken apart is done, and never
 * after SIGKILL. Method: a shell in a session of its own, which no terminal reaches, waits for the end of a pipe that
 * this process holds open, and removes them.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { explainErrno, WinnowError } from '../base/errors.ts';

export interface Temporary {
  readonly path: string;
  /** Removes the folder, and what is in it. */
  close(): void;
}

/** Makes a folder whose path begins with `prefix`. @throws WinnowError E_TEMPORARY */
export function openTemporary(prefix: string): Temporary {
  const path = `${prefix}${randomBytes(6).toString('hex')}`;
  const temporary = goesWithUs(path);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    throw explainErrno(error, (errno) => noTemporary(errno, path));
  }
  return temporary;
}

export const noTemporary = (errno: string, where: string): WinnowError =>
  new WinnowError({
    code: 'E_TEMPORARY',
    kind: 'environment',
    what: `temporary files cannot be made: ${errno}`,
    where,
    next: 'check that the folder is there, is yours to write and has room, or name another one: TMPDIR',
  });

/**
 * The same for a folder of a new name, which others make from now on.
 * @param others go with it; `close` leaves them.
 */
export function goesWithUs(path: string, ...others: readonly string[]): Temporary {
  const waits = 'read _; rm -rf -- "$@"';
  const child = spawn('/bin/sh', ['-c', waits, 'sh', path, ...others], {
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
    detached: true,
  });
  // Without it the folders stay as they do without a shell: until the next build.
  child.on('error', () => undefined);
  child.stdin.on('error', () => undefined);
  child.unref();
  return {
    path,
    close() {
      rmSync(path, { recursive: true, force: true });
      child.stdin.end();
    },
  };
}
