/** Waiting for several things at once: a trapped call, a stopped tracee, a signal, a time. */
import { readSync, writeSync } from 'node:fs';
import koffi, { type LibraryHandle } from 'koffi';
import { WinnowError } from '../base/errors.ts';
import { closeFd, type Fd, openPipe } from './fds.ts';
import { lastErrno, libc, poll } from './libc.ts';
import { runtimeFile } from './runtime.ts';

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

const POLLIN = 1;
const POLLHUP = 16;

export interface Woken {
  readonly listener: boolean;
  /** Nobody is left behind the listener's filter. */
  readonly listenerGone: boolean;
  readonly signals: ReadonlySet<number>;
}

const NO_SIGNALS: ReadonlySet<number> = new Set();

/** Turns signals into something that can be waited for; `close` gives the old handlers back. */
export class Waker {
  readonly #pipe: { readonly read: Fd; readonly write: Fd };
  readonly #old: { readonly signal: number; readonly action: Buffer }[] = [];
  /** Two struct pollfd: the pipe, and what the caller names. */
  readonly #fds = new Int32Array(4);
  readonly #revents = new Uint16Array(this.#fds.buffer);
  readonly #bytes = Buffer.alloc(256);

  constructor(signals: readonly number[]) {
    const library = loadWake();
    this.#pipe = openPipe();
    for (const fd of [this.#pipe.read, this.#pipe.write]) fcntl(fd, F_SETFL, O_NONBLOCK);
    library.func('void winnow_wake_into(int fd)')(this.#pipe.write);
    const action = Buffer.alloc(SIGACTION_SIZE);
    action.writeBigUInt64LE(handlerAddress(), 0);
    action.writeUInt32LE(SA_RESTART, FLAGS_AT);
    for (const signal of signals) {
      const old = Buffer.alloc(SIGACTION_SIZE);
      if (sigaction(signal, action, old) !== 0) throw new Error(`sigaction: ${lastErrno()}`);
      this.#old.push({ signal, action: old });
    }
  }

  /** Sleeps until something happens, or `timeoutMs` (-1: for ever) has passed. */
  wait(listener: Fd | undefined, timeoutMs: number): Woken {
    this.#fds[0] = this.#pipe.read;
    this.#fds[1] = POLLIN;
    this.#fds[2] = listener ?? -1;
    this.#fds[3] = POLLIN;
    // A signal interrupts poll (it is never restarted): its byte is in the pipe then, unseen by poll.
    const interrupted = poll(this.#fds, 2, timeoutMs) < 0;
    const events = listener === undefined ? 0 : (this.#revents[7] ?? 0);
    const pipe = this.#revents[3] ?? 0;
    return {
      listener: (events & POLLIN) !== 0,
      listenerGone: (events & POLLHUP) !== 0,
      signals: pipe === 0 && !interrupted ? NO_SIGNALS : this.#drain(),
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
