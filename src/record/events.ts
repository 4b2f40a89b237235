/**
 * The event stream of a recording. Whoever wants to know something about the program is an observer of
 * these events; the tracer knows ptrace and nothing else.
 *
 * While an event is observed its thread stands still, and for `image-started`, `module-mapped`,
 * `memory-ending`, `trap` and `fault` it stands between two instructions, so calls can be made for it
 * (`inject.ts`) and its memory can be written: one-shot breakpoints are planted at `module-mapped`
 * (before relocation and constructors) and taken back at `trap`.
 */
import type { Rva, Tid } from '../base/brands.ts';
import type { Note } from '../profile/model.ts';
import type { AddressRange } from '../sys/pagemap.ts';
import type { Fault } from '../sys/ptrace.ts';
import type { Notice } from '../sys/seccomp.ts';
import type { Image, Thread } from './tracees.ts';

export type TraceEvent =
  /** A new program image: after execve, before its first instruction; or a fork's copy. */
  | {
      readonly kind: 'image-started';
      readonly image: Image;
      readonly thread: Thread;
      readonly how: 'exec' | 'fork';
    }
  /** execve was called and may still fail; the old image's memory is there for the last time if not. */
  | {
      readonly kind: 'image-replacing';
      readonly image: Image;
      readonly thread: Thread;
      readonly notice: Notice;
    }
  /** Another trapped system call, at its entry. */
  | { readonly kind: 'call'; readonly image: Image; readonly thread: Thread; readonly notice: Notice }
  /**
   * Calls of which nobody needs more than to know (`walkLog`, `pathsIn`): told late, the threads are long gone on. Before
   * the next event all earlier ones are told.
   */
  | {
      readonly kind: 'look-ups';
      readonly log: ArrayBuffer;
      /** What a thread ran then. */
      readonly imageOf: (tid: Tid) => Image | undefined;
    }
  /**
   * An executable mapping of a file came to be at `at`: before relocation, IFUNC resolvers and
   * constructors. Only where an observer wants arrivals; what the kernel itself maps (the program and
   * its loader) is there at `image-started`.
   */
  | {
      readonly kind: 'module-mapped';
      readonly image: Image;
      readonly thread: Thread;
      readonly at: bigint;
      /** The mmap that made it. */
      readonly notice: Notice;
    }
  /** SIGTRAP of a breakpoint; `handled` keeps it from the program. */
  | { readonly kind: 'trap'; readonly image: Image; readonly thread: Thread; handled: boolean }
  /** SIGSEGV, where an observer asks for faults; `handled` lets the thread try the instruction again. */
  | {
      readonly kind: 'fault';
      readonly image: Image;
      readonly thread: Thread;
      readonly fault: Fault;
      handled: boolean;
    }
  /**
   * The tracer is about to leave this thread running for good, between two instructions: what was
   * planted in its memory must go now. Also for processes whose `image-started` was never told.
   */
  | { readonly kind: 'letting-go'; readonly image: Image; readonly thread: Thread }
  /** The last thread of the image ends; its memory is still there, under this thread id. */
  | { readonly kind: 'memory-ending'; readonly image: Image; readonly tid: Tid }
  | { readonly kind: 'image-ended'; readonly image: Image };

export interface Control {
  /**
   * Lets the current call of a notice happen, then stops the thread and says what the call returned
   * (negative: -errno), before the program goes on.
   */
  afterCall(thread: Thread, then: (result: bigint) => void): void;
}

export interface Observer {
  /** Asks for `module-mapped`: one more notice for each library. */
  readonly wantsArrivals?: boolean;
  /** Asks for the next trapped call while its thread waits, whatever it is. */
  readonly wantsNextCall?: boolean;
  /** Asks for `fault`. */
  readonly wantsFaults?: boolean;
  observe(event: TraceEvent, control: Control): void;
}

/** An observer that finds out by breakpoints which functions are entered. */
export interface CodeObserver extends Observer {
  /** Entries by path of the file, in the order of first use. */
  entered(): ReadonlyMap<string, readonly Rva[]>;
  /** Pages that are in an image's memory because of the breakpoints, not of the program. Ascending. */
  writtenPages(image: Image, range?: AddressRange): readonly AddressRange[];
  /** What it could not see. */
  notes(): readonly Note[];
}
