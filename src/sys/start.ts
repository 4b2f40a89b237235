/**
 * Starts a program that is traced from its first instruction on.
 *
 * Problem: fork() in a process with Node's threads is not safe, and libuv's spawn fights with waitpid
 * over the child's exit status. Method: posix_spawn of `dist/runtime/stub`, a static program that
 * installs the filter, waits on a socket until it is traced, puts the caller's limits and signals back
 * and execs the program.
 */
import { openSync, readSync, writeSync } from 'node:fs';
import { type Pid, pid } from '../base/brands.ts';
import { borrowFd, closeFd, type Fd, isOpen, openPidfd } from './fds.ts';
import { lastErrno, libc } from './libc.ts';
import {
  ACTIONS_SIZE,
  actionsChdir,
  actionsDestroy,
  actionsDup2,
  actionsInit,
  posixSpawn,
} from './posix-spawn.ts';
import { runtimeFile } from './runtime.ts';

const socketpair = libc.func('int socketpair(int domain, int type, int protocol, void *fds)');

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const FLAG_NO_NEW_PRIVS = 1;

export interface StartOptions {
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Soft limit on open files to put back; 0 leaves it. */
  readonly openFiles: number;
  /** Signals to ignore, hexadecimal mask. */
  readonly ignoredSignals: string;
  /** Signals to block, hexadecimal mask. */
  readonly blockedSignals: string;
  /** The caller's descriptors beyond the first three, for the program; closed here. */
  readonly descriptors: readonly Fd[];
  /** Where it runs; this process's folder where nothing is said. */
  readonly cwd?: string;
}

/** A stub that waits. Exactly one of `release` and `abandon` must be called. */
export interface WaitingProgram {
  readonly pid: Pid;
  /**
   * Installs a filter in the stub; the listener is the caller's to close.
   * @returns undefined where the kernel or a container refuses.
   */
  installFilter(filter: Buffer, noNewPrivileges: boolean): Fd | undefined;
  /**
   * Says that there will be no filter, and waits for the stub to hear it. A tracer that does so before it
   * seizes cannot be held up later: a stub that has stopped for a signal does not answer.
   */
  withoutFilter(): void;
  release(): void;
  abandon(): void;
}

let heldStub: string | undefined;

/** Opens the stub, for a thread that is about to have another root folder with /proc in it. */
export function holdStub(): void {
  heldStub ??= `/proc/self/fd/${openSync(runtimeFile('stub'), 'r')}`;
}

export function startWaiting(options: StartOptions): WaitingProgram {
  const fds = Buffer.alloc(8);
  if (socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds) !== 0) throw new Error(`socketpair: ${lastErrno()}`);
  const ours = fds.readInt32LE(0);
  const theirs = fds.readInt32LE(4);
  const actions = Buffer.alloc(ACTIONS_SIZE);
  actionsInit(actions);
  try {
    // dup2 onto itself is how posix_spawn keeps one descriptor over exec.
    actionsDup2(actions, theirs, theirs);
    // Node has put close-on-exec on all that it inherited.
    const inherited = options.descriptors.filter(isOpen);
    for (const fd of [0, 1, 2, ...inherited]) actionsDup2(actions, fd, fd);
    if (options.cwd !== undefined) actionsChdir(actions, options.cwd);
    const { ignoredSignals, blockedSignals } = options;
    const setUp = [String(theirs), String(options.openFiles), ignoredSignals, blockedSignals];
    const env = Object.entries(options.env).map(([name, value]) => `${name}=${value}`);
    const started: [number] = [0];
    const error: number = posixSpawn(
      started,
      heldStub ?? runtimeFile('stub'),
      actions,
      null,
      ['stub', ...setUp, options.program, ...options.argv, null],
      [...env, null],
    );
    // Now, or the read below would not end if the stub dies.
    closeFd(theirs);
    // A pipe's other end must not wait for us.
    for (const fd of inherited) closeFd(fd);
    if (error !== 0) {
      closeFd(ours);
      throw new Error(`posix_spawn of the stub: errno ${error}`);
    }
    if (readSync(ours, Buffer.alloc(4)) < 4) {
      closeFd(ours);
      throw new Error('the stub ended before it ran');
    }
    return waiting(pid(started[0]), ours, theirs);
  } finally {
    actionsDestroy(actions);
  }
}

/** Starts a program of the runtime with some descriptors and nothing else; it is not waited for. */
export function startWithFds(name: string, fds: readonly Fd[]): Pid {
  const actions = Buffer.alloc(ACTIONS_SIZE);
  actionsInit(actions);
  try {
    for (const fd of fds) actionsDup2(actions, fd, fd);
    const started: [number] = [0];
    const error: number = posixSpawn(
      started,
      runtimeFile(name),
      actions,
      null,
      [name, ...fds.map(String), null],
      [null],
    );
    if (error !== 0) throw new Error(`posix_spawn of ${name}: errno ${error}`);
    return pid(started[0]);
  } finally {
    actionsDestroy(actions);
  }
}

/** @param inside the number of the socket in the stub. */
function waiting(process: Pid, socket: Fd, inside: Fd): WaitingProgram {
  let filtered = false;
  return {
    pid: process,
    installFilter(filter, noNewPrivileges) {
      // A filter whose listener could not be borrowed would stop the program for ever.
      const probe = borrowListener(process, inside);
      if (probe === undefined) return undefined;
      closeFd(probe);
      filtered = true;
      send(socket, noNewPrivileges ? FLAG_NO_NEW_PRIVS : 0, filter);
      const answer = Buffer.alloc(4);
      if (readSync(socket, answer) < 4 || answer.readInt32LE() < 0) return undefined;
      return borrowListener(process, answer.readInt32LE());
    },
    withoutFilter() {
      if (filtered) return;
      send(socket, 0, Buffer.alloc(0));
      readSync(socket, Buffer.alloc(4));
      filtered = true;
    },
    release() {
      this.withoutFilter();
      writeSync(socket, 'g');
      closeFd(socket);
    },
    abandon() {
      closeFd(socket);
    },
  };
}

function send(socket: Fd, flags: number, filter: Buffer): void {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(flags, 0);
  head.writeUInt32LE(filter.length / 8, 4);
  writeSync(socket, Buffer.concat([head, filter]));
}

function borrowListener(process: Pid, fd: number): Fd | undefined {
  const pidfd = openPidfd(process);
  if (pidfd === undefined) return undefined;
  try {
    return borrowFd(pidfd, fd);
  } finally {
    closeFd(pidfd);
  }
}
