/**
 * The family book of a recording: every thread, process and program image of the tree, and how the first
 * process ended. The tracer writes it; it asks the kernel nothing.
 */
import type { Pid, Tid } from '../base/brands.ts';
import type { Ended } from '../profile/model.ts';
import { type Executed, NOT_KNOWN } from './proc.ts';
import { type Image, type Process, releaseProcess, type Thread } from './tracees.ts';

export class Family {
  readonly threads = new Map<Tid, Thread>();
  /** In the order of their start. */
  readonly images: Image[] = [];
  root: Process | undefined;
  /** How the first process ended; undefined while it lives. */
  rootEnded: Ended | undefined;

  /** A thread that still runs of each process. */
  get liveThreads(): readonly Thread[] {
    const found = new Map<Process, Thread>();
    for (const thread of this.threads.values()) if (!thread.exiting) found.set(thread.process, thread);
    return [...found.values()];
  }

  processOf(pid: number): Process | undefined {
    return this.liveThreads.find(({ process }) => process.pid === pid)?.process;
  }

  bearThread(id: Tid, process: Process): Thread {
    const thread: Thread = { tid: id, process, started: false, exiting: false, held: 0, atInterrupt: [] };
    process.threads.add(id);
    this.threads.set(id, thread);
    return thread;
  }

  /** A process that goes on with its parent's image until it execs. */
  bearProcess(id: Pid, parent: Image | undefined, borrowsMemory: boolean): Process {
    const image = this.bearImage(id, parent, parent ?? NOT_KNOWN);
    image.mapped = parent?.mapped ?? [];
    return { pid: id, image, threads: new Set(), borrowsMemory, memory: undefined, pidfd: undefined };
  }

  bearImage(pid: Pid, parent: Image | undefined, { program, argv, libraryPath }: Executed): Image {
    const image: Image = {
      serial: this.images.length,
      parent,
      pid,
      program,
      argv,
      libraryPath,
      startFiles: [],
      loader: [],
      uffd: undefined,
      uffdInside: undefined,
      unregistered: [],
      mapped: [],
      syscallAt: 0n,
      ended: undefined,
    };
    this.images.push(image);
    return image;
  }

  /** After an exec only the caller is left, as the leader. */
  keepOnly(thread: Thread): void {
    const { process } = thread;
    for (const other of process.threads) if (other !== thread.tid) this.threads.delete(other);
    process.threads.clear();
    process.threads.add(thread.tid);
    thread.exiting = false;
  }

  /** Strikes a thread out; returns whether it was the last one of its process, which then ended so. */
  bury(thread: Thread, ended: Ended): boolean {
    const { process } = thread;
    this.threads.delete(thread.tid);
    process.threads.delete(thread.tid);
    if (process.threads.size > 0) return false;
    process.image.ended = ended;
    if (process === this.root && ended.kind !== 'left-running') this.rootEnded = ended;
    return true;
  }

  /** Strikes a thread out that goes on without us, or that nobody hears of any more. */
  forget(thread: Thread): void {
    if (this.bury(thread, { kind: 'left-running' })) releaseProcess(thread.process);
  }
}
