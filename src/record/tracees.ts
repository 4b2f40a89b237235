/** What the tracer knows of the process tree: threads, processes, and the program image each one runs. */
import { closeSync, openSync } from 'node:fs';
import type { Pid, Tid } from '../base/brands.ts';
import type { Ended } from '../profile/model.ts';
import { closeFd, type Fd, openPidfd } from '../sys/fds.ts';
import type { AddressRange } from '../sys/pagemap.ts';

/**
 * One program image: from execve (or fork) to the next execve or the end. This is what becomes a
 * process record of the profile.
 */
export interface Image {
  /** Order of start over the whole tree. */
  readonly serial: number;
  readonly parent: Image | undefined;
  readonly pid: Pid;
  /** Empty for the stub that starts the program, and while it is not known. */
  program: string;
  argv: readonly string[];
  /** LD_LIBRARY_PATH, where it is set. */
  libraryPath: string | undefined;
  /** Files that exec mapped: the program and its loader. */
  startFiles: readonly string[];
  /** Where the dynamic loader's code lies: what it opens is mapped, not read. */
  loader: readonly AddressRange[];
  /** The userfaultfd that keeps fault-around off, borrowed. */
  uffd: Fd | undefined;
  /** Mappings that are not registered there yet. */
  unregistered: AddressRange[];
  /** Where files were mapped since the image began, as far as it was noticed; what is unmapped stays. */
  mapped: readonly AddressRange[];
  /** The tracee's own number of that userfaultfd, as long as it has it. */
  uffdInside: bigint | undefined;
  /** Address of a `syscall` instruction for calls made on the tracee's behalf; 0 where none was found. */
  syscallAt: bigint;
  ended: Ended | undefined;
}

export interface Process {
  readonly pid: Pid;
  image: Image;
  readonly threads: Set<Tid>;
  /** A vfork child runs in its parent's memory until it execs. */
  borrowsMemory: boolean;
  /** /proc/PID/mem of the current memory. */
  memory: Fd | undefined;
  pidfd: Fd | undefined;
}

export interface Thread {
  readonly tid: Tid;
  process: Process;
  /** Its first stop has been seen. */
  started: boolean;
  /** Its exit event has been seen; the memory may live on in other threads. */
  exiting: boolean;
  /** A signal that waits for the tracee to go on. */
  held: number;
  /** Plans for its next stop between two instructions, other than a group-stop. */
  atInterrupt: (() => void)[];
}

/** The memory of a thread's process, to read and write; undefined if it is gone. */
export function openMemory({ process, tid }: Thread): Fd | undefined {
  if (process.memory === undefined) {
    try {
      // By the thread's id: a leader that has exited shows no memory.
      process.memory = openSync(`/proc/${tid}/mem`, 'r+');
    } catch {
      return undefined;
    }
  }
  return process.memory;
}

export function pidfdOf(process: Process): Fd | undefined {
  process.pidfd ??= openPidfd(process.pid);
  return process.pidfd;
}

/** Closes what belongs to the memory that is gone. */
export function releaseMemory(process: Process): void {
  if (process.memory !== undefined) closeSync(process.memory);
  process.memory = undefined;
  if (process.image.uffd !== undefined) closeFd(process.image.uffd);
  process.image.uffd = undefined;
}

export function releaseProcess(process: Process): void {
  releaseMemory(process);
  if (process.pidfd !== undefined) closeFd(process.pidfd);
  process.pidfd = undefined;
}
