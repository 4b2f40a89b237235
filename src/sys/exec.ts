/**
 * Replaces this process by another program, with the state that the caller of winnow set.
 *
 * Node raises the soft limit on open files, ignores SIGPIPE, resets other ignored signals, sets the signal
 * mask and marks descriptors close-on-exec; `bin/winnow` notes what was there before (caller.ts). The
 * environment is passed on as the C library holds it and arguments are bytes: text that is not UTF-8
 * survives. Limits: descriptors 0 to 2 that were closed are open on /dev/null.
 */
import { readFileSync } from 'node:fs';
import { type Caller, OWN_VARIABLES } from './caller.ts';
import { keepOpen } from './fds.ts';
import { lastErrno, libc } from './libc.ts';

const RLIMIT_NOFILE = 7;
const SIG_SETMASK = 2;
const SIGNALS = 64;

const execv = libc.func('int execv(const char *path, void **argv)');
const setenv = libc.func('int setenv(const char *name, const char *value, int overwrite)');
const unsetenv = libc.func('int unsetenv(const char *name)');
const getrlimit = libc.func('int getrlimit(int resource, void *limit)');
const setrlimit = libc.func('int setrlimit(int resource, const void *limit)');
const signalRaw = libc.func('uintptr_t signal(int signal, uintptr_t handler)');
const sigprocmask = libc.func('int sigprocmask(int how, const void *set, void *previous)');

function restoreLimit(openFiles: number): void {
  if (openFiles === 0) return;
  const limit = Buffer.alloc(16);
  if (getrlimit(RLIMIT_NOFILE, limit) !== 0) return;
  limit.writeBigUInt64LE(BigInt(openFiles), 0);
  setrlimit(RLIMIT_NOFILE, limit);
}

function restoreSignals(ignored: bigint, blocked: bigint): void {
  // SIGKILL, SIGSTOP and the C library's own two refuse; nobody can have changed them.
  for (let signal = 1; signal <= SIGNALS; signal += 1) {
    signalRaw(signal, (ignored >> BigInt(signal - 1)) & 1n ? 1 : 0);
  }
  const mask = Buffer.alloc(128);
  mask.writeBigUInt64LE(blocked);
  sigprocmask(SIG_SETMASK, mask, null);
}

/** The last `count` arguments of this process, as bytes without the ending zero. */
export function ownArguments(count: number): Buffer[] {
  const words: Buffer[] = [];
  const line = readFileSync('/proc/self/cmdline');
  let end = line.length;
  while (words.length < count && end > 0) {
    const start = end < 2 ? 0 : line.lastIndexOf(0, end - 2) + 1;
    words.push(line.subarray(start, end - 1));
    end = start;
  }
  return words.reverse();
}

/**
 * Executes `path` with `argv`, argv[0] first, and this process's environment less winnow's own variables.
 * @param variables put into the environment, for a launcher that takes them out again.
 * @returns the errno's name, and only where it fails; limits and signals are the caller's by then.
 */
export function replaceProcess(
  path: string,
  argv: readonly Uint8Array[],
  caller: Caller,
  variables: Readonly<Record<string, string>> = {},
): string {
  for (const name of OWN_VARIABLES) unsetenv(name);
  for (const [name, value] of Object.entries(variables)) setenv(name, value, 1);
  const words = argv.map((word) => Buffer.concat([word, Buffer.of(0)]));
  restoreLimit(caller.openFiles);
  restoreSignals(BigInt(`0x${caller.ignoredSignals}`), BigInt(`0x${caller.blockedSignals}`));
  // Node marks all that it inherits close-on-exec, the first three too.
  for (const fd of [0, 1, 2, ...caller.descriptors]) keepOpen(fd);
  execv(path, [...words, null]);
  return lastErrno();
}
