/** Waiting for several things at once: a trapped call, a stopped tracee, a signal, a time. */
import { readSync, writeSync } from 'node:fs';
import koffi, { type LibraryHandle } from 'koffi';
import { WinnowError } from '../base/errors.ts';
import { closeFd, type Fd, openPipe } from './fds.ts';
import { lastErrno, libc } from './libc.ts';
import { runtimeFile } from './runtime.ts';
import { NOTICE_BYTES, type Notice, noticeIn } from './seccomp.ts';

export const SIGHUP = 1;
export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGUSR1 = 10;
export const SIGUSR2 = 12;
export const SIGTERM = 15;
export const SIGCHLD = 17;
export const SIGTSTP = 20;
export const SIGTTIN = 21;
export const SIGTTOU = 22;

const SA_RESTART = 0x10000000;
/** glibc's struct sigaction: handler, 128 bytes of mask, flags, restorer. */
const SIGACTION_SIZE = 152;
const FLAGS_AT = 136;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

const sigaction = libc.func('int sigaction(int signal, const void *action, void *old)');
const fcntl = libc.func('int fcntl(int fd, int command, int value)');

/** What woke us: bits of runtime/look-ups.c. */
const NOTICE = 1;
const GONE = 2;
const SIGNAL = 4;
const SLEEP_HEAD = 32;
const LOG_BYTES = 1 << 18;

export interface Woken {
  /** A trapped call that waits for an answer. */
  readonly notice: Notice | undefined;
  /** Paths of look-ups that were let go meanwhile, for `pathsIn`. */
  readonly lookUps: Buffer | undefined;
  /** Nobody is left behind the listener's filter. */
  readonly listenerGone: boolean;
  readonly signals: ReadonlySet<number>;
}

const NO_SIGNALS: ReadonlySet<number> = new Set();

/** Turns signals into something that can be waited for; `close` gives the old handlers back. */
export class Waker {
  readonly #pipe: { readonly read: Fd; readonly write: Fd };
  readonly #old: { readonly signal: number; readonly action: Buffer }[] = [];
  /** struct sleep of runtime/look-ups.c. */
  readonly #sleep = new Int32Array((SLEEP_HEAD + NOTICE_BYTES) / 4);
  readonly #log = Buffer.alloc(LOG_BYTES);
  readonly #sleepRaw: (sleep: Int32Array, log: Buffer) => void;
  readonly #bytes = Buffer.alloc(256);

  constructor(signals: readonly number[]) {
    const library = loadWake();
    this.#pipe = openPipe();
    for (const fd of [this.#pipe.read, this.#pipe.write]) fcntl(fd, F_SETFL, O_NONBLOCK);
    library.func('void winnow_wake_into(int fd)')(this.#pipe.write);
    this.#sleepRaw = library.func('void winnow_sleep(void *sleep, void *log)');
    const action = Buffer.alloc(SIGACTION_SIZE);
    action.writeBigUInt64LE(handlerAddress(), 0);
    action.writeUInt32LE(SA_RESTART, FLAGS_AT);
    for (const signal of signals) {
      const old = Buffer.alloc(SIGACTION_SIZE);
      if (sigaction(signal, action, old) !== 0) throw new Error(`sigaction: ${lastErrno()}`);
      this.#old.push({ signal, action: old });
    }
  }

  /**
   * Sleeps until something happens, or `timeoutMs` (-1: for ever) has passed. Look-ups by an absolute path
   * are written down and let go without an end of the sleep.
   *
   * @param hold not so: they are notices like others.
   */
  wait(listener: Fd | undefined, timeoutMs: number, hold = false): Woken {
    const sleep = this.#sleep;
    sleep[0] = listener ?? -1;
    sleep[1] = this.#pipe.read;
    sleep[2] = timeoutMs;
    sleep[3] = hold ? 1 : 0;
    sleep[5] = 0;
    sleep[6] = LOG_BYTES;
    this.#sleepRaw(sleep, this.#log);
    const woken = sleep[4] ?? 0;
    const used = sleep[5] ?? 0;
    return {
      notice: (woken & NOTICE) === 0 ? undefined : noticeIn(sleep.buffer, SLEEP_HEAD),
      lookUps: used === 0 ? undefined : Buffer.from(this.#log.subarray(0, used)),
      listenerGone: (woken & GONE) !== 0,
      signals: (woken & SIGNAL) === 0 ? NO_SIGNALS : this.#drain(),
    };
  }

  /** The pipe's end to write: a byte in it is a signal's number for `wait`. */
  get nudge(): Fd {
    return this.#pipe.write;
  }

  /** Makes the next `wait` report SIGCHLD at once. */
  again(): void {
    writeSync(this.#pipe.write, Buffer.from([SIGCHLD]));
  }

  #drain(): Set<number> {
    const signals = new Set<number>();
    for (;;) {
      let got = 0;
      try {
        got = readSync(this.#pipe.read, this.#bytes);
      } catch {
        // EAGAIN: the pipe is empty.
        return signals;
      }
      for (const byte of this.#bytes.subarray(0, got)) signals.add(byte);
      if (got < this.#bytes.length) return signals;
    }
  }

  close(): void {
    for (const { signal, action } of this.#old) sigaction(signal, action, null);
    closeFd(this.#pipe.read);
    closeFd(this.#pipe.write);
  }
}

function loadWake(): LibraryHandle {
  const path = runtimeFile('wake.so');
  try {
    return koffi.load(path);
  } catch (cause) {
    throw new WinnowError({
      code: 'E_RUNTIME_MISSING',
      kind: 'environment',
      what: 'a part of winnow’s C runtime is missing',
      where: path,
      next: 'run `npm run build`',
      cause,
    });
  }
}

const dlsym = libc.func('uintptr_t dlsym(uintptr_t handle, const char *name)');
const dlopen = libc.func('uintptr_t dlopen(const char *path, int flags)');

/** dlopen of a library that is loaded already gives the same one. */
function handlerAddress(): bigint {
  const RTLD_NOW = 2;
  return BigInt(dlsym(dlopen(runtimeFile('wake.so'), RTLD_NOW), 'winnow_wake'));
}

/** The paths in `Woken.lookUps`, in the order of the calls. */
export function pathsIn(log: Buffer): string[] {
  const paths: string[] = [];
  for (let at = 0; at + 2 <= log.length; ) {
    const end = at + 2 + log.readUInt16LE(at);
    paths.push(log.toString('utf8', at + 2, end));
    at = end;
  }
  return paths;
}
