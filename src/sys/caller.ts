/** What the caller of winnow set before Node changed it: noted by `bin/winnow` in the environment. */
import type { Fd } from './fds.ts';
import { libc } from './libc.ts';

export interface Caller {
  /** The environment without winnow's own variables. */
  readonly env: Readonly<Record<string, string>>;
  /** Soft limit on open files; 0 where it is not known or unlimited. */
  readonly openFiles: number;
  /** Ignored signals, hexadecimal mask. */
  readonly ignoredSignals: string;
  /** Blocked signals, hexadecimal mask. */
  readonly blockedSignals: string;
  /** Open descriptors beyond the first three. */
  readonly descriptors: readonly Fd[];
}

const OWN = 'WINNOW_CALLER_';
/** The variables of `bin/winnow` in the environment: no program may see them. */
export const OWN_VARIABLES: readonly string[] = ['NOFILE', 'SIGIGN', 'SIGBLK', 'FDS'].map(
  (name) => `${OWN}${name}`,
);
const FIRST_OTHER_FD = 3;

export function readCaller(environment: Readonly<Record<string, string | undefined>> = process.env): Caller {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && !name.startsWith(OWN)) env[name] = value;
  }
  const openFiles = Number(environment[`${OWN}NOFILE`]);
  return {
    env,
    openFiles: Number.isSafeInteger(openFiles) ? openFiles : 0,
    ignoredSignals: maskOf(environment[`${OWN}SIGIGN`]),
    blockedSignals: maskOf(environment[`${OWN}SIGBLK`]),
    descriptors: (environment[`${OWN}FDS`] ?? '')
      .split(' ')
      .map(Number)
      .filter((fd) => Number.isSafeInteger(fd) && fd >= FIRST_OTHER_FD),
  };
}

const maskOf = (text: string | undefined): string =>
  text !== undefined && /^[0-9a-f]{1,16}$/.test(text) ? text : '0';

/** Whether a mask as in /proc/PID/status has the signal. */
export const hasSignal = (mask: string, signal: number): boolean =>
  ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;

const prctl = libc.func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
const raise = libc.func('int raise(int signal)');
const signalDefault = libc.func('uintptr_t signal(int signal, uintptr_t handler)');
const sigprocmask = libc.func('int pthread_sigmask(int how, const void *set, void *old)');
const exitRaw = libc.func('void _exit(int code)');

/**
 * Ends this process at once. Node's own exit would put the terminal's settings back as they were at its
 * start, and undo what the program set on purpose (stty, reset).
 */
export function exitNow(code: number): never {
  exitRaw(code);
  process.exit(code);
}

/** Ends this process by a signal, as its program ended; without a second core file. */
export function dieBySignal(signal: number): never {
  const PR_SET_DUMPABLE = 4;
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  signalDefault(signal, 0);
  const SIG_SETMASK = 2;
  sigprocmask(SIG_SETMASK, Buffer.alloc(128), null);
  raise(signal);
  // A signal that does not end a process by default.
  exitNow(128 + signal);
}
