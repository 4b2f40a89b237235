/** What the caller of winnow set before Node changed it: noted by `bin/winnow` in the environment. */
import { libc } from './libc.ts';

export interface Caller {
  /** The environment without winnow's own variables. */
  readonly env: Readonly<Record<string, string>>;
  /** Soft limit on open files; 0 where it is not known or unlimited. */
  readonly openFiles: number;
  /** Ignored signals, hexadecimal mask. */
  readonly ignoredSignals: string;
}

const NOFILE = 'WINNOW_CALLER_NOFILE';
const SIGIGN = 'WINNOW_CALLER_SIGIGN';

export function readCaller(environment: Readonly<Record<string, string | undefined>> = process.env): Caller {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && name !== NOFILE && name !== SIGIGN) env[name] = value;
  }
  const openFiles = Number(environment[NOFILE]);
  const ignored = environment[SIGIGN] ?? '';
  return {
    env,
    openFiles: Number.isSafeInteger(openFiles) ? openFiles : 0,
    ignoredSignals: /^[0-9a-f]{1,16}$/.test(ignored) ? ignored : '0',
  };
}

const prctl = libc.func('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
const raise = libc.func('int raise(int signal)');
const signalDefault = libc.func('uintptr_t signal(int signal, uintptr_t handler)');

/** Ends this process by a signal, as its program ended; without a second core file. */
export function dieBySignal(signal: number): never {
  const PR_SET_DUMPABLE = 4;
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  signalDefault(signal, 0);
  raise(signal);
  // A signal that does not end a process by default.
  process.exit(128 + signal);
}
