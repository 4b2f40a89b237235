/** Runs one subject in fresh scratch folders and notes what it left. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pid } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { type Ended, groupIsAlive, killGroup, reapProcess, startProcess } from '../sys/spawn.ts';
import type { Observation } from './compare.ts';
import type { Subject } from './model.ts';
import { freshFolders, type Scratch } from './scratch.ts';
import { readTree } from './tree.ts';

export interface RunConditions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** File for stdin; /dev/null where it is not given. */
  readonly stdin?: string;
  /** Folder whose copy the program finds as its current folder. */
  readonly copyOf?: string;
  readonly scratchHome: boolean;
  readonly timeoutMs?: number;
  readonly openFiles?: number;
  /** When it fires, the program is killed and `E_INTERRUPTED` thrown. */
  readonly abort?: AbortSignal;
}

export interface Observed extends Observation {
  readonly wallNs: number;
  /** Processes of its group were still there after it had ended, and were killed. */
  readonly leftovers: boolean;
}

/** How long processes that a program left in its group may take to end by themselves. */
const GRACE_MS = 300;

/**
 * Runs `subject` once. The scratch folders are made here and left for the caller to put aside.
 * @throws WinnowError `E_SPAWN`, `E_SCRATCH_COPY`, `E_INTERRUPTED`, `E_STDIN`.
 */
export async function observe(subject: Subject, scratch: Scratch, given: RunConditions): Promise<Observed> {
  freshFolders(scratch, given.copyOf);
  const opened: number[] = [];
  const open = (path: string, flags: string): number => {
    const fd = openSync(path, flags, 0o600);
    opened.push(fd);
    return fd;
  };
  let child: Pid | undefined;
  try {
    const before = process.hrtime.bigint();
    child = startProcess({
      ...subject,
      env: {
        ...given.env,
        TMPDIR: scratch.tmp,
        PWD: scratch.work,
        ...(given.scratchHome ? { HOME: scratch.home } : {}),
      },
      cwd: scratch.work,
      stdin: given.stdin === undefined ? { kind: 'null' } : { kind: 'fd', fd: openStdin(given.stdin, open) },
      stdout: { kind: 'fd', fd: open(scratch.stdout, 'w') },
      stderr: { kind: 'fd', fd: open(scratch.stderr, 'w') },
      ownGroup: true,
      ...(given.openFiles === undefined ? {} : { openFiles: given.openFiles }),
    });
    const { ended, timedOut } = await endOf(child, given);
    const wallNs = Number(process.hrtime.bigint() - before);
    const leftovers = await clearGroup(child);
    // Its group is empty now, and the number may be given to another.
    child = undefined;
    return {
      status: ended.status,
      timedOut,
      wallNs,
      leftovers,
      stdout: readFileSync(scratch.stdout),
      stderr: readFileSync(scratch.stderr),
      tree: readTree(dirname(scratch.work)),
    };
  } finally {
    if (child !== undefined) killGroup(child);
    for (const fd of opened) closeSync(fd);
  }
}

function openStdin(path: string, open: (path: string, flags: string) => number): number {
  try {
    return open(path, 'r');
  } catch (cause) {
    throw new WinnowError({
      code: 'E_STDIN',
      kind: 'usage',
      what: 'the file for stdin cannot be opened',
      where: path,
      next: 'name a readable file after --stdin',
      cause,
    });
  }
}

/** Waits from a timer, so that Node still sees signals and the time-out. */
async function endOf(child: Pid, given: RunConditions): Promise<{ ended: Ended; timedOut: boolean }> {
  const started = performance.now();
  let timedOut = false;
  for (let pause = 1; ; pause = Math.min(pause * 1.5, 20)) {
    const ended = reapProcess(child);
    if (ended !== undefined) {
      if (given.abort?.aborted === true) throw interrupted();
      return { ended, timedOut };
    }
    if (given.abort?.aborted === true) killGroup(child);
    if (given.timeoutMs !== undefined && !timedOut && performance.now() - started > given.timeoutMs) {
      timedOut = true;
      killGroup(child);
    }
    await sleep(pause);
  }
}

function interrupted(): WinnowError {
  return new WinnowError({
    code: 'E_INTERRUPTED',
    kind: 'environment',
    what: 'interrupted by a signal; nothing was compared',
    next: 'run the command again',
    exitCode: 130,
  });
}

async function clearGroup(child: Pid): Promise<boolean> {
  const deadline = performance.now() + GRACE_MS;
  while (groupIsAlive(child)) {
    if (performance.now() > deadline) {
      killGroup(child);
      return true;
    }
    await sleep(5);
  }
  return false;
}
