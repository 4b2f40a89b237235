/**
 * The watcher (`runtime/watcher.c`): a process beside the recorder that answers a program's trapped calls
 * at once, and writes down what it saw for the recorder to read when there is time.
 */
import { readSync, writeSync } from 'node:fs';
import type { Pid } from '../base/brands.ts';
import { closeFd, type Fd, neverWait, openPidfd, openPipe, widenPipe } from './fds.ts';
import { startWithFds } from './start.ts';

/** What the kernel allows anybody; the watcher waits for the recorder where a pipe is full. */
const PIPE_BYTES = 1 << 20;
const CHUNK = 1 << 16;

export class Watcher {
  readonly pid: Pid;
  readonly #data: Fd;
  readonly #orders: Fd;
  readonly #buffer = Buffer.alloc(CHUNK);

  /**
   * @param root the first process of the program, which is killed if this process dies.
   * @param keep a socket that processes of a recording from inside send descriptors to.
   * @param nudge a pipe that this process sleeps on: a byte comes when there is no more room for what was seen.
   */
  constructor(listener: Fd, root: Pid, nudge: Fd, keep?: Fd) {
    const pidfd = openPidfd(root);
    if (pidfd === undefined) throw new Error('pidfd_open of a waiting child failed');
    const orders = openPipe();
    const data = openPipe();
    neverWait(data.read);
    neverWait(data.write);
    widenPipe(data.write, PIPE_BYTES);
    try {
      const given = [listener, orders.read, data.write, nudge, pidfd];
      this.pid = startWithFds('watcher', keep === undefined ? given : [...given, keep]);
    } finally {
      for (const fd of [orders.read, data.write, pidfd]) closeFd(fd);
    }
    this.#data = data.read;
    this.#orders = orders.write;
  }

  /** Calls `take` with what was written since the last time; the bytes are only lent. */
  read(take: (bytes: Buffer) => void): void {
    for (;;) {
      let got = 0;
      try {
        got = readSync(this.#data, this.#buffer);
      } catch {
        // EAGAIN: nothing more for now.
        return;
      }
      if (got === 0) return;
      take(this.#buffer.subarray(0, got));
    }
  }

  /** Asks it to end after the call it is at; from then on the listener is another's to answer. */
  stop(): void {
    try {
      writeSync(this.#orders, 'x');
    } catch {
      // EPIPE: it has ended already.
    }
  }

  /** Call it once the watcher has ended: it takes a closed end for the recorder's death. */
  close(): void {
    closeFd(this.#orders);
    closeFd(this.#data);
  }
}
