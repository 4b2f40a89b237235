/** Waiting for several things at once: a trapped call, a stopped tracee, a signal, a time. */
import { readSync, writeSync } from 'node:fs';
import koffi, { type LibraryHandle } from 'koffi';
import type { Pid } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { closeFd, type Fd, openPipe } from './fds.ts';
import { lastErrno, libc } from './libc.ts';
import type { AddressRange } from './pagemap.ts';
import { runtimeFile } from './runtime.ts';
import { type Notice, noticeIn } from './seccomp.ts';
import * as layout from './wake-layout.ts';

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
const SA_SIGINFO = 4;
/** glibc's struct sigaction: handler, 128 bytes of mask, flags, restorer. */
const SIGACTION_SIZE = 152;
const FLAGS_AT = 136;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

const sigaction = libc.func('int sigaction(int signal, const void *action, void *old)');
const fcntl = libc.func('int fcntl(int fd, int command, int value)');

const LOG_BYTES = 1 << 18;

export interface Woken {
  /** A trapped call that waits for an answer. */
  readonly notice: Notice | undefined;
  /** Calls that were let go meanwhile, for `walkLog` and `pathsIn`. */
  readonly lookUps: ArrayBuffer | undefined;
  /** Nobody is left behind the listener's filter. */
  readonly listenerGone: boolean;
  readonly signals: ReadonlySet<number>;
}

/** A descriptor of a process whose reading is followed, and our duplicate of it. */
export interface FollowedFd {
  readonly pid: Pid;
  readonly fd: number;
  readonly borrowed: Fd;
}

const word = (field: number): number => field / 4;
const SLEEP = {
  listener: word(layout.SLEEP.listener),
  pipe: word(layout.SLEEP.pipe),
  timeout: word(layout.SLEEP.timeout),
  hold: word(layout.SLEEP.hold),
  woken: word(layout.SLEEP.woken),
  used: word(layout.SLEEP.used),
  logSize: word(layout.SLEEP.log_size),
  readingsCount: word(layout.SLEEP.readings_count),
  readings: word(layout.SLEEP.readings),
} as const;
const processAt = (pid: Pid): number =>
  layout.SLEEP.processes + (pid % layout.PROCESS_SLOTS) * layout.PROCESS.size;

const NO_SIGNALS: ReadonlySet<number> = new Set();

/** Turns signals into something that can be waited for; `close` gives the old handlers back. */
export class Waker {
  readonly #pipe: { readonly read: Fd; readonly write: Fd };
  readonly #old: { readonly signal: number; readonly action: Buffer }[] = [];
  /** struct sleep of runtime/look-ups.c. */
  readonly #sleep = new Int32Array(layout.SLEEP.size / 4);
  readonly #sleepView = new DataView(this.#sleep.buffer);
  readonly #log = new Uint8Array(LOG_BYTES);
  readonly #sleepRaw: (sleep: Int32Array, log: Uint8Array) => void;
  readonly #bytes = Buffer.alloc(256);
  readonly #await: (pid: number) => void;
  readonly #endedAt: () => bigint | number;

  constructor(signals: readonly number[]) {
    const library = loadWake();
    this.#pipe = openPipe();
    for (const fd of [this.#pipe.read, this.#pipe.write]) fcntl(fd, F_SETFL, O_NONBLOCK);
    library.func('void winnow_wake_into(int fd)')(this.#pipe.write);
    this.#sleepRaw = library.func('void winnow_sleep(void *sleep, void *log)');
    this.#await = library.func('void winnow_await(int pid)');
    this.#endedAt = library.func('uint64_t winnow_ended_at(void)');
    const action = Buffer.alloc(SIGACTION_SIZE);
    action.writeBigUInt64LE(handlerAddress(), 0);
    action.writeUInt32LE(SA_RESTART | SA_SIGINFO, FLAGS_AT);
    for (const signal of signals) {
      const old = Buffer.alloc(SIGACTION_SIZE);
      if (sigaction(signal, action, old) !== 0) throw new Error(`sigaction: ${lastErrno()}`);
      this.#old.push({ signal, action: old });
    }
  }

  /**
   * Sleeps until something happens, or `timeoutMs` (-1: for ever) has passed. Calls of which nobody needs more than
   * to know are written down and let go without an end of the sleep.
   *
   * @param hold not so: they are notices like others.
   */
  wait(listener: Fd | undefined, timeoutMs: number, hold = false): Woken {
    const sleep = this.#sleep;
    sleep[SLEEP.listener] = listener ?? -1;
    sleep[SLEEP.pipe] = this.#pipe.read;
    sleep[SLEEP.timeout] = timeoutMs;
    sleep[SLEEP.hold] = hold ? 1 : 0;
    sleep[SLEEP.used] = 0;
    sleep[SLEEP.logSize] = LOG_BYTES;
    this.#sleepRaw(sleep, this.#log);
    const woken = sleep[SLEEP.woken] ?? 0;
    const used = sleep[SLEEP.used] ?? 0;
    return {
      notice: (woken & layout.WOKEN_NOTICE) === 0 ? undefined : noticeIn(sleep.buffer, layout.SLEEP.notice),
      lookUps: used === 0 ? undefined : this.#log.buffer.slice(0, used),
      listenerGone: (woken & layout.WOKEN_GONE) !== 0,
      signals: (woken & layout.WOKEN_SIGNAL) === 0 ? NO_SIGNALS : this.#drain(),
    };
  }

  /** From now on calls of a process's first thread may be let go. @param loader where the dynamic loader's code lies in it. */
  noteProcess(pid: Pid, loader: readonly AddressRange[]): void {
    const at = processAt(pid);
    this.#sleepView.setUint32(at + layout.PROCESS.pid, pid, true);
    const [first] = loader;
    this.#sleepView.setBigUint64(at + layout.PROCESS.loader_start, BigInt(first?.start ?? 0), true);
    this.#sleepView.setBigUint64(at + layout.PROCESS.loader_end, BigInt(loader.at(-1)?.end ?? 0), true);
  }

  /** Its id may be another's from now on. */
  forgetProcess(pid: Pid): void {
    const at = processAt(pid) + layout.PROCESS.pid;
    if (this.#sleepView.getUint32(at, true) === pid) this.#sleepView.setUint32(at, 0, true);
  }

  /** Jumps in these are written down, in others let go; at most READINGS_MAX. */
  followSeeks(followed: Iterable<FollowedFd>): void {
    let count = 0;
    for (const { pid, fd, borrowed } of followed) {
      const at = SLEEP.readings + count++ * word(layout.READING.size);
      this.#sleep[at + word(layout.READING.pid)] = pid;
      this.#sleep[at + word(layout.READING.fd)] = fd;
      this.#sleep[at + word(layout.READING.borrowed)] = borrowed;
    }
    this.#sleep[SLEEP.readingsCount] = count;
  }

  /** Notes the time at which this child ends: SIGCHLD must be among the signals. */
  awaitEnd(child: Pid): void {
    this.#await(child);
  }

  /**
   * When the awaited child ended, in nanoseconds of the monotonic clock (that of process.hrtime).
   *
   * @returns undefined while it runs, and where its SIGCHLD was one with another child's.
   */
  get endedAt(): bigint | undefined {
    const at = BigInt(this.#endedAt());
    return at === 0n ? undefined : at;
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
