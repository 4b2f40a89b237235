/** What /proc says of a tracee. Everything may be gone at any time: then the answer is empty. */
import { readFileSync, readlinkSync } from 'node:fs';
import type { Pid, Tid } from '../base/brands.ts';
import { hasSignal } from '../sys/caller.ts';

function orEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

/** The absolute path of the executable; of a script, its interpreter's. */
export const readProgram = (process: Pid): string =>
  orEmpty(() => readlinkSync(`/proc/${process}/exe`)).replace(/ \(deleted\)$/, '');

/** What a process was executed as. */
export interface Executed {
  /** Absolute path of the executable; empty while it is not known. */
  readonly program: string;
  readonly argv: readonly string[];
  readonly libraryPath: string | undefined;
}

export const NOT_KNOWN: Executed = { program: '', argv: [], libraryPath: undefined };

export const readExecuted = (process: Pid): Executed => ({
  program: readProgram(process),
  argv: wordsOf(orEmpty(() => readFileSync(`/proc/${process}/cmdline`, 'utf8'))),
  libraryPath: libraryPathOf(orEmpty(() => readFileSync(`/proc/${process}/environ`, 'utf8'))),
});

/** What /proc/PID/cmdline and environ hold: each word is ended by a zero byte. */
export const wordsOf = (text: string): string[] => (text === '' ? [] : text.replace(/\0$/, '').split('\0'));

const LIBRARY_PATH = 'LD_LIBRARY_PATH=';

/** The value of LD_LIBRARY_PATH in an environment; of several the last, as the dynamic loader takes it. */
export const libraryPathOf = (environ: string): string | undefined =>
  wordsOf(environ)
    .findLast((word) => word.startsWith(LIBRARY_PATH))
    ?.slice(LIBRARY_PATH.length);

/** The thread group of a thread and the parent of its process; 0 if it is gone. */
export function readFamily(thread: Tid): { readonly group: number; readonly parent: number } {
  const status = orEmpty(() => readFileSync(`/proc/${thread}/status`, 'utf8'));
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0);
  return { group: field('Tgid'), parent: field('PPid') };
}

/** How many seccomp filters bind a thread; 0 where the kernel (before 5.9) does not say. */
export function countFilters(thread: Tid): number {
  const status = orEmpty(() => readFileSync(`/proc/${thread}/status`, 'utf8'));
  return Number(/^Seccomp_filters:\s*(\d+)/m.exec(status)?.[1] ?? 0);
}

/** Whether a SIGTRAP for this very thread waits to be delivered, and is not blocked. */
export function isTrapOnItsWay(thread: Tid): boolean {
  const status = orEmpty(() => readFileSync(`/proc/${thread}/status`, 'utf8'));
  const mask = (name: string): bigint =>
    BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)`, 'm').exec(status)?.[1] ?? '0'}`);
  return (mask('SigPnd') & ~mask('SigBlk') & (1n << 4n)) !== 0n;
}

/** Whether there is a handler for a signal; false too where the thread is gone. */
export function catches(thread: Tid, signal: number): boolean {
  const status = orEmpty(() => readFileSync(`/proc/${thread}/status`, 'utf8'));
  return hasSignal(/^SigCgt:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0', signal);
}

/** The working folder of a thread. */
export const readCwd = (thread: Tid): string => orEmpty(() => readlinkSync(`/proc/${thread}/cwd`));

/** What a descriptor of a process refers to: a path, or `pipe:[…]` and the like. */
export const readFdLink = (process: Pid | Tid, fd: number): string =>
  orEmpty(() => readlinkSync(`/proc/${process}/fd/${fd}`));

/** The same of a descriptor of ours. */
export const readOwnLink = (fd: number): string => orEmpty(() => readlinkSync(`/proc/self/fd/${fd}`));
