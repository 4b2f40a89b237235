/**
 * A snapshot of a process that runs already, from /proc alone: it is not stopped, and what it looked up
 * or read before is not known.
 */
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { type Pid, pid as toPid } from '../base/brands.ts';
import { errnoOf, usageError, WinnowError } from '../base/errors.ts';
import type { Run } from '../profile/model.ts';
import { readMaps } from '../sys/maps.ts';
import { TraceeGone } from '../sys/ptrace.ts';
import { assembleRun } from './assemble.ts';
import { Family } from './family.ts';
import { FileUse } from './file-use.ts';
import { PathReader } from './paths.ts';
import { readExecuted } from './proc.ts';
import { Snapshots } from './snapshots.ts';

/**
 * @param text the process id as typed.
 * @throws WinnowError E_USAGE, E_NO_PROCESS, E_PROCESS_REFUSED.
 */
export function snapshot(text: string): Run {
  const process = parsePid(text);
  const startedAt = Date.now();
  checkReadable(process);
  const image = new Family().bearImage(process, undefined, readExecuted(process));
  image.ended = { kind: 'left-running' };
  if (image.program === '') throw noProcess(process);
  const paths = new PathReader();
  const snapshots = new Snapshots(paths);
  snapshots.take(image, process);
  if (snapshots.lost > 0) throw noProcess(process);
  return assembleRun(
    {
      command: { program: image.program, argv: image.argv, cwd: readlinkSync(`/proc/${process}/cwd`) },
      startedAt,
      durationMs: Date.now() - startedAt,
      method: { pages: 'fault-around', lookups: 'unseen', functions: 'unseen', kernel: release() },
      ended: { kind: 'left-running' },
      notes: [
        {
          code: 'N_SNAPSHOT',
          text: `a snapshot of process ${process}, which ran already: pages are rounded up to 64 KiB; look-ups and files that were read and not mapped are not in it`,
        },
      ],
    },
    { images: [image], snapshots, fileUse: new FileUse(paths) },
  );
}

function parsePid(text: string): Pid {
  const value = Number(text);
  if (/^\d+$/.test(text) && value > 0) return toPid(value);
  throw usageError(`'${text}' is no process id`, 'give the number that ps or pgrep shows');
}

function checkReadable(process: Pid): void {
  if (statSync(`/proc/${process}`, { throwIfNoEntry: false }) === undefined) throw noProcess(process);
  try {
    readdirSync(`/proc/${process}/map_files`);
    if (readMaps(process).length > 0) return;
  } catch (error) {
    if (error instanceof TraceeGone || errnoOf(error) === 'ENOENT') throw noProcess(process);
    throw new WinnowError({
      code: 'E_PROCESS_REFUSED',
      kind: 'environment',
      what: 'the system does not let winnow look at the memory map of the process',
      where: `process ${process} (${errnoOf(error) ?? 'unknown error'})`,
      next: 'run it as the user the process belongs to, or as root',
      cause: error,
    });
  }
  throw new WinnowError({
    code: 'E_PROCESS_REFUSED',
    kind: 'unsupported',
    what: 'the process has no memory map: it is a kernel thread or has ended',
    where: `process ${process}`,
    next: 'give the id of a running program',
  });
}

const noProcess = (process: Pid): WinnowError =>
  new WinnowError({
    code: 'E_NO_PROCESS',
    kind: 'input',
    what: 'there is no such process',
    where: `process ${process}`,
    next: 'look it up with ps or pgrep',
  });
