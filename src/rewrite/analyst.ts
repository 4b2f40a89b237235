/**
 * A thread that analyses a file while this one waits for the answer.
 *
 * A recorder meets plugins when they are mapped, and their program stands still meanwhile. Analysis in the recorder's
 * own thread would be slow: its code runs there for the first time, while threads that have been through
 * large libraries have it compiled, and know most instructions. So one of these stays.
 */
import { type MessagePort, receiveMessageOnPort, type Worker } from 'node:worker_threads';
import type { Fd } from '../sys/fds.ts';
import type { BreakpointPlaces, Kept } from './model.ts';

/** The thread answers with BreakpointPlaces, Kept, or undefined where the file cannot be read or is none of ours. */
export interface Question {
  /** Open in this process. */
  readonly fd: Fd;
  /** For messages. */
  readonly path: string;
}

/** How the two threads hear of each other. */
export interface Line {
  /** How many questions were answered: whoever asks sleeps on it. */
  readonly answered: Int32Array;
  readonly port: MessagePort;
}

/** Longer than any file takes: then something is wrong with the thread. */
const ANSWER_MS = 60_000;

export class Analyst {
  readonly #worker: Worker;
  readonly #line: Line;
  #isClosed = false;

  /** Takes over the thread, which has nothing else to do from now on. */
  constructor(worker: Worker, line: Line) {
    this.#worker = worker;
    this.#line = line;
    worker.unref();
  }

  /** Undefined where there is no answer: then whoever asks has to look for it, and finds what is wrong. */
  ask(question: Question): BreakpointPlaces | Kept | undefined {
    if (this.#isClosed) return undefined;
    const { answered, port } = this.#line;
    const before = Atomics.load(answered, 0);
    port.postMessage(question);
    if (Atomics.wait(answered, 0, before, ANSWER_MS) === 'timed-out') {
      this.close();
      return undefined;
    }
    const answer: { readonly message: BreakpointPlaces | Kept | undefined } | undefined =
      receiveMessageOnPort(port);
    return answer?.message;
  }

  close(): void {
    this.#isClosed = true;
    this.#line.port.close();
    void this.#worker.terminate();
  }
}
