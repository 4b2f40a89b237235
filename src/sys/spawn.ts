/**
 * Precise process runs: start a program with nothing of Node's own state, wait, and say what it cost.
 *
 * Problem: child_process goes through the event loop: its clock covers the loop, libuv reaps the child
 * without telling what it used, and the child inherits what Node changed (SIGPIPE ignored, a raised
 * limit on open files).
 * Method: posix_spawn, which glibc does with CLONE_VFORK | CLONE_VM, so its cost does not grow with
 * Node's memory; signals back to default, an empty mask; then wait4 with rusage. The clock is read
 * right before posix_spawn and right after wait4.
 * Limits: `runProcess` blocks the event loop: signal handlers of Node run after the program has ended.
 * Where that matters `startProcess` and `reapProcess` are used from a timer. A signal that the caller
 * ignored is set to default.
 */
import koffi from 'koffi';
import { type Pid, pid } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { OWN_VARIABLES } from './caller.ts';
import { closeFd } from './fds.ts';
import { lastErrno, libc, poll } from './libc.ts';
import {
  ACTIONS_SIZE,
  actionsChdir,
  actionsDestroy,
  actionsDup2,
  actionsInit,
  posixSpawn,
} from './posix-spawn.ts';

export type Stdio =
  | { readonly kind: 'null' }
  | { readonly kind: 'inherit' }
  /** An open descriptor of this process. */
  | { readonly kind: 'fd'; readonly fd: number };

export interface SpawnOptions {
  /** The file to execute: absolute, or relative to this process's folder; PATH is not searched. */
  readonly file: string;
  /** argv, argv[0] first. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly stdin?: Stdio;
  readonly stdout?: Stdio;
  readonly stderr?: Stdio;
  /** A process group of its own, so that the whole tree can be killed by `killGroup`. */
  readonly ownGroup?: boolean;
  /** Soft limit on open files, where Node's raised one must not be inherited. */
  readonly openFiles?: number;
}

export type ExitStatus =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'killed'; readonly signal: number };

/** What the program and its waited-for descendants used (getrusage). */
export interface Usage {
  readonly userNs: number;
  readonly systemNs: number;
  readonly maxRssKib: number;
  readonly minorFaults: number;
  readonly majorFaults: number;
  /** 512-byte units read from devices by these processes; reads by others on their behalf are missing. */
  readonly blocksRead: number;
}

export interface Ended {
  readonly status: ExitStatus;
  readonly usage: Usage;
}

export interface ProcessRun extends Ended {
  /** Nanoseconds from right before posix_spawn to right after wait4. */
  readonly wallNs: number;
  readonly timedOut: boolean;
}

const attrInit = libc.func('int posix_spawnattr_init(void *attr)');
const attrDestroy = libc.func('int posix_spawnattr_destroy(void *attr)');
const attrSetFlags = libc.func('int posix_spawnattr_setflags(void *attr, short flags)');
const attrSetDefault = libc.func('int posix_spawnattr_setsigdefault(void *attr, const void *set)');
const attrSetMask = libc.func('int posix_spawnattr_setsigmask(void *attr, const void *set)');
const actionsOpen = libc.func(
  'int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, unsigned int mode)',
);
const actionsCloseFrom = glibc234('int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)');
const wait4 = libc.func('int wait4(int pid, _Out_ int *status, int options, void *rusage)');
const pidfdOpen = libc.func('long syscall(long number, long a, long b)');
const killProcess = libc.func('int kill(int pid, int signal)');
const prlimit = libc.func('int prlimit(int pid, int resource, const void *next, void *previous)');

/** A function that glibc has since 2.34 (2021); undefined on an older one and on musl. */
function glibc234(declaration: string): ReturnType<typeof libc.func> | undefined {
  try {
    return libc.func(declaration);
  } catch {
    return undefined;
  }
}

const SYS_PIDFD_OPEN = 434;
const FLAGS = { setPgroup: 0x02, setSigDef: 0x04, setSigMask: 0x08 };
const SIGKILL = 9;
const WNOHANG = 1;
const O_RDWR = 2;
const POLLIN = 1;
const RLIMIT_NOFILE = 7;
// glibc's types are 336, 80, 128 and 144 bytes on x86-64; room to spare.
const ATTR_SIZE = 512;
const SIGSET_SIZE = 128;
const RUSAGE_SIZE = 144;

const ERRNO_NAMES = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [Number(value), name]));

/** Winnow's own variables, which the launch script sets for winnow and no program should see. */

/**
 * Starts a program.
 * @throws WinnowError `E_SPAWN` (exit code 127 for ENOENT, else 126) when it cannot be started.
 */
export function startProcess(options: SpawnOptions): Pid {
  const attr = Buffer.alloc(ATTR_SIZE);
  const actions = Buffer.alloc(ACTIONS_SIZE);
  const set = Buffer.alloc(SIGSET_SIZE);
  const argv = [...options.argv, null];
  const env: (string | null)[] = [];
  for (const [name, value] of Object.entries(options.env)) {
    if (value !== undefined && !OWN_VARIABLES.includes(name)) env.push(`${name}=${value}`);
  }
  env.push(null);
  const started: [number] = [0];
  attrInit(attr);
  actionsInit(actions);
  try {
    // Every bit by hand: sigfillset leaves out 32 and 33, which posix_spawn then sets to ignored.
    set.fill(0xff);
    attrSetDefault(attr, set);
    set.fill(0);
    attrSetMask(attr, set);
    attrSetFlags(
      attr,
      FLAGS.setSigDef | FLAGS.setSigMask | (options.ownGroup === true ? FLAGS.setPgroup : 0),
    );
    [options.stdin, options.stdout, options.stderr].forEach((stdio, number) => {
      addStdio(actions, stdio ?? { kind: 'inherit' }, number);
    });
    actionsCloseFrom?.(actions, 3);
    if (options.cwd !== undefined) actionsChdir(actions, options.cwd);
    const error: number = withOpenFiles(options.openFiles, () =>
      posixSpawn(started, options.file, actions, attr, argv, env),
    );
    if (error !== 0) throw spawnError(options, ERRNO_NAMES.get(error) ?? `errno ${error}`);
  } finally {
    actionsDestroy(actions);
    attrDestroy(attr);
  }
  return pid(started[0]);
}

function addStdio(actions: Buffer, stdio: Stdio, number: number): void {
  // A dup2 onto itself clears the close-on-exec flag that Node puts on what it inherited.
  if (stdio.kind === 'inherit') actionsDup2(actions, number, number);
  else if (stdio.kind === 'fd') actionsDup2(actions, stdio.fd, number);
  else actionsOpen(actions, number, '/dev/null', O_RDWR, 0);
}

/** posix_spawn cannot set limits: the child copies ours, lowered for the moment of the call. */
function withOpenFiles<T>(soft: number | undefined, body: () => T): T {
  if (soft === undefined) return body();
  const previous = Buffer.alloc(16);
  if (prlimit(0, RLIMIT_NOFILE, null, previous) !== 0) return body();
  const lowered = Buffer.from(previous);
  lowered.writeBigUInt64LE(BigInt(soft), 0);
  if (prlimit(0, RLIMIT_NOFILE, lowered, null) !== 0) return body();
  try {
    return body();
  } finally {
    prlimit(0, RLIMIT_NOFILE, previous, null);
  }
}

function spawnError(options: SpawnOptions, errno: string): WinnowError {
  const missing = errno === 'ENOENT';
  return new WinnowError({
    code: 'E_SPAWN',
    kind: 'environment',
    what: `the program cannot be started (${errno})`,
    where: options.file,
    next: missing
      ? 'check the path; for a script also the interpreter in its first line, for a folder that it exists'
      : 'check that the file is executable and built for this machine',
    exitCode: missing ? 127 : 126,
  });
}

/** What `wait4` says of a child that ended, or undefined while it runs. Does not wait. */
export function reapProcess(child: Pid): Ended | undefined {
  return wait(child, WNOHANG);
}

function wait(child: Pid, options: number): Ended | undefined {
  const status: [number] = [0];
  const rusage = Buffer.alloc(RUSAGE_SIZE);
  for (;;) {
    const found: number = wait4(child, status, options, rusage);
    if (found === child) return { status: decodeStatus(status[0]), usage: decodeUsage(rusage) };
    if (found === 0) return undefined;
    const errno = lastErrno();
    if (errno !== 'EINTR') throw new Error(`wait4 of process ${child}: ${errno}`);
  }
}

function decodeStatus(status: number): ExitStatus {
  const signal = status & 0x7f;
  return signal === 0 ? { kind: 'exited', code: (status >> 8) & 0xff } : { kind: 'killed', signal };
}

function decodeUsage(rusage: Buffer): Usage {
  const field = (index: number): number => Number(rusage.readBigInt64LE(index * 8));
  return {
    userNs: field(0) * 1e9 + field(1) * 1e3,
    systemNs: field(2) * 1e9 + field(3) * 1e3,
    maxRssKib: field(4),
    minorFaults: field(8),
    majorFaults: field(9),
    blocksRead: field(11),
  };
}

/** Kills a child that was started with `ownGroup`, and every process of its group. */
export function killGroup(child: Pid): void {
  killProcess(-child, SIGKILL);
}

/** Whether a process of the group is left. */
export function groupIsAlive(child: Pid): boolean {
  return killProcess(-child, 0) === 0 || lastErrno() !== 'ESRCH';
}

/**
 * Runs a program to its end; blocks.
 * @param timeoutMs after which the program (with `ownGroup`: its group) is killed.
 * @throws WinnowError as `startProcess`.
 */
export function runProcess(options: SpawnOptions, timeoutMs?: number): ProcessRun {
  const before = process.hrtime.bigint();
  const child = startProcess(options);
  const timedOut = timeoutMs !== undefined && !endsWithin(child, timeoutMs);
  if (timedOut) killProcess(options.ownGroup === true ? -child : child, SIGKILL);
  const ended = wait(child, 0);
  const wallNs = Number(process.hrtime.bigint() - before);
  if (ended === undefined) throw new Error(`wait4 of process ${child} returned without a status`);
  return { ...ended, wallNs, timedOut };
}

function endsWithin(child: Pid, timeoutMs: number): boolean {
  const fd: number = pidfdOpen(SYS_PIDFD_OPEN, child, 0);
  // Without pidfd_open (before Linux 5.3) there is no time-out, rather than a busy wait in a measurement.
  if (fd < 0) return true;
  const deadline = performance.now() + timeoutMs;
  const request = Buffer.alloc(8);
  request.writeInt32LE(fd, 0);
  request.writeInt16LE(POLLIN, 4);
  try {
    for (;;) {
      const left = Math.ceil(deadline - performance.now());
      if (left <= 0) return false;
      const ready: number = poll(request, 1, left);
      if (ready > 0) return true;
      if (ready < 0 && lastErrno() !== 'EINTR') return true;
    }
  } finally {
    closeFd(fd);
  }
}
