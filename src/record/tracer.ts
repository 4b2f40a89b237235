/**
 * The tracer: follows a tree of processes through fork, vfork, clone, exec and exit and turns what the
 * kernel reports into the event stream of `events.ts`.
 *
 * Two sources are waited for at once: notices of trapped calls (seccomp) and stops of tracees
 * (ptrace, announced by SIGCHLD). All of it happens on one OS thread, which ptrace demands.
 *
 * Hazards known and met: a child's first stop may be reported before its parent's fork event; a thread
 * can vanish under any request (SIGKILL); an exec by another thread than the leader takes the leader's
 * id; a group-stop must be left alone (LISTEN), or Ctrl-Z stops working.
 */
import { type Pid, pid, type Tid, tid } from '../base/brands.ts';
import type { Ended } from '../profile/model.ts';
import type { Fd } from '../sys/fds.ts';
import * as pt from '../sys/ptrace.ts';
import { letGo, receiveNotice } from '../sys/seccomp.ts';
import { pollAny, type WaitEvent, waitFor } from '../sys/wait.ts';
import { SIGCHLD, type Waker } from '../sys/wake.ts';
import type { Control, Observer, TraceEvent } from './events.ts';
import { SYS } from './filter.ts';
import { EndedDuringCall } from './inject.ts';
import { readArgv, readProgram, readTgid } from './proc.ts';
import { type Image, type Process, releaseMemory, releaseProcess, type Thread } from './tracees.ts';

const OPTIONS =
  pt.PTRACE_O_TRACESYSGOOD |
  pt.PTRACE_O_TRACEFORK |
  pt.PTRACE_O_TRACEVFORK |
  pt.PTRACE_O_TRACECLONE |
  pt.PTRACE_O_TRACEEXEC |
  pt.PTRACE_O_TRACEEXIT;

const SIGTRAP = 5;
const GROUP_STOPS: ReadonlySet<number> = new Set([19, 20, 21, 22]);
/** Stops dealt with in one go before notices get their turn again. */
const STOPS_A_TURN = 64;

export class Tracer implements Control {
  readonly #observers: readonly Observer[];
  readonly #waker: Waker;
  #listener: Fd | undefined;
  readonly #threads = new Map<Tid, Thread>();
  readonly #early = new Set<Tid>();
  readonly #images: Image[] = [];
  #root: Process | undefined;
  #rootEnded: Ended | undefined;
  #leaving = false;

  constructor(observers: readonly Observer[], waker: Waker) {
    this.#observers = observers;
    this.#waker = waker;
  }

  get images(): readonly Image[] {
    return this.#images;
  }

  /** How the first process ended; undefined while it lives. */
  get rootEnded(): Ended | undefined {
    return this.#rootEnded;
  }

  get liveProcesses(): readonly Process[] {
    return [...new Set([...this.#threads.values()].map(({ process }) => process))];
  }

  /**
   * Takes a waiting stub under its wing. EXITKILL: with the tracer gone its notices would be answered
   * by ENOSYS, and a program that cannot open files must not go on as if nothing had happened.
   *
   * @throws PtraceFailed where tracing is refused.
   */
  adopt(stub: Pid): void {
    pt.seize(tid(stub), OPTIONS | pt.PTRACE_O_EXITKILL);
    const process = this.#newProcess(stub, undefined, false);
    this.#root = process;
    const thread = this.#newThread(tid(stub), process);
    thread.started = true;
  }

  listenTo(listener: Fd | undefined): void {
    this.#listener = listener;
  }

  /**
   * Runs until no tracee is left or `interrupted` says to stop, which is asked after every wake-up.
   *
   * @returns whether the tree has ended.
   */
  run(interrupted: (signals: ReadonlySet<number>) => boolean, timeoutMs: () => number): boolean {
    while (this.#threads.size > 0) {
      const woken = this.#waker.wait(this.#listener, timeoutMs());
      if (woken.listener && this.#listener !== undefined) this.#answer(this.#listener);
      if (woken.listenerGone) this.#listener = undefined;
      if (woken.signals.has(SIGCHLD)) this.#drainStops();
      if (interrupted(woken.signals)) return false;
    }
    return true;
  }

  /** Detaches from every tracee and leaves it running; calls go on being answered meanwhile. */
  leave(): void {
    this.#leaving = true;
    for (const thread of this.#threads.values()) {
      thread.atInterrupt = undefined;
      attempt(() => pt.interrupt(thread.tid));
    }
    this.run(
      () => false,
      () => -1,
    );
  }

  afterCall(thread: Thread, then: (result: bigint) => void): void {
    thread.atInterrupt = () => then(BigInt.asIntN(64, pt.getRegisters(thread.tid).get('rax')));
    attempt(() => pt.interrupt(thread.tid));
  }

  #answer(listener: Fd): void {
    const notice = receiveNotice(listener);
    if (notice === undefined) return;
    const thread = this.#threads.get(notice.tid);
    try {
      if (thread !== undefined && !this.#leaving) {
        const image = thread.process.image;
        const execve = notice.nr === SYS.execve || notice.nr === SYS.execveat;
        this.#emit({ kind: execve ? 'image-replacing' : 'call', image, thread, notice });
      }
    } finally {
      letGo(listener, notice.id);
    }
  }

  #emit(event: TraceEvent): void {
    for (const observer of this.#observers) attempt(() => observer.observe(event, this));
  }

  #drainStops(): void {
    for (let i = 0; i < STOPS_A_TURN; i++) {
      const event = pollAny();
      if (typeof event === 'string') return;
      this.#dispatch(event);
    }
    // More may wait; their SIGCHLD has been taken already.
    this.#waker.again();
  }

  #dispatch(event: WaitEvent): void {
    const thread = this.#threads.get(event.tid);
    if (thread === undefined) {
      if (event.kind === 'stop') this.#early.add(event.tid);
      return;
    }
    attempt(
      () => this.#handle(thread, event),
      (late) => this.#dispatch(late),
    );
  }

  #handle(thread: Thread, event: WaitEvent): void {
    switch (event.kind) {
      case 'exited':
        return this.#remove(thread, { kind: 'exited', code: event.code });
      case 'killed':
        return this.#remove(thread, { kind: 'killed', signal: event.signal });
      case 'stop':
        return this.#handleStop(thread, event.signal);
      case 'signal':
        return this.#handleSignal(thread, event.signal);
      case 'syscall':
        return this.#goOn(thread);
      case 'event':
        return this.#handleEvent(thread, event.event);
    }
  }

  #handleEvent(thread: Thread, event: number): void {
    switch (event) {
      case pt.PTRACE_EVENT_FORK:
      case pt.PTRACE_EVENT_VFORK:
      case pt.PTRACE_EVENT_CLONE:
        this.#handleBirth(thread, event, tid(pt.eventMessage(thread.tid)));
        return this.#goOn(thread);
      case pt.PTRACE_EVENT_EXEC:
        this.#handleExec(thread, tid(pt.eventMessage(thread.tid)));
        return this.#goOn(thread);
      case pt.PTRACE_EVENT_EXIT:
        this.#handleExit(thread);
        return this.#goOn(thread);
      default:
        return this.#goOn(thread);
    }
  }

  #handleBirth(parent: Thread, event: number, child: Tid): void {
    const isThread = event === pt.PTRACE_EVENT_CLONE && readTgid(child) === parent.process.pid;
    const process = isThread
      ? parent.process
      : this.#newProcess(pid(child), parent.process.image, event === pt.PTRACE_EVENT_VFORK);
    const thread = this.#newThread(child, process);
    if (this.#early.delete(child)) this.#begin(thread);
  }

  #begin(thread: Thread): void {
    thread.started = true;
    const { process } = thread;
    if (process.threads.size === 1 && !process.borrowsMemory && !this.#leaving) {
      attempt(
        () => this.#emit({ kind: 'image-started', image: process.image, thread, how: 'fork' }),
        (late) => this.#dispatch(late),
      );
    }
    this.#goOn(thread);
  }

  #handleStop(thread: Thread, signal: number): void {
    if (!thread.started) return this.#begin(thread);
    const then = thread.atInterrupt;
    thread.atInterrupt = undefined;
    if (then !== undefined) then();
    if (this.#leaving || !GROUP_STOPS.has(signal)) return this.#goOn(thread);
    pt.listen(thread.tid);
  }

  #handleSignal(thread: Thread, signal: number): void {
    if (signal === SIGTRAP) {
      const event = { kind: 'trap' as const, image: thread.process.image, thread, handled: false };
      this.#emit(event);
      if (event.handled) return this.#goOn(thread);
    }
    this.#goOn(thread, signal);
  }

  #handleExec(thread: Thread, former: Tid): void {
    const { process } = thread;
    // All other threads are gone, and the caller has become the leader.
    for (const other of process.threads) if (other !== thread.tid) this.#threads.delete(other);
    process.threads.clear();
    process.threads.add(thread.tid);
    thread.exiting = false;
    void former;
    const before = process.image;
    before.ended = { kind: 'execed' };
    this.#emit({ kind: 'image-ended', image: before });
    releaseMemory(process);
    process.borrowsMemory = false;
    process.image = this.#newImage(process.pid, before, readProgram(process.pid), readArgv(process.pid));
    if (this.#leaving) return;
    // From the exec event to the exit of execve, where calls can be made for the tracee.
    pt.resumeToSyscall(thread.tid);
    const stop = waitFor(thread.tid);
    if (typeof stop === 'string') return;
    if (stop.kind !== 'syscall') throw new EndedDuringCall(stop);
    this.#emit({ kind: 'image-started', image: process.image, thread, how: 'exec' });
  }

  #handleExit(thread: Thread): void {
    thread.exiting = true;
    const { process } = thread;
    for (const other of process.threads) if (this.#threads.get(other)?.exiting !== true) return;
    if (process.borrowsMemory || this.#leaving) return;
    this.#emit({ kind: 'memory-ending', image: process.image, tid: thread.tid });
  }

  #remove(thread: Thread, ended: Ended): void {
    const { process } = thread;
    this.#threads.delete(thread.tid);
    process.threads.delete(thread.tid);
    if (process.threads.size > 0) return;
    process.image.ended = ended;
    this.#emit({ kind: 'image-ended', image: process.image });
    releaseProcess(process);
    if (process === this.#root) this.#rootEnded = ended;
  }

  /** Every stop ends here: on with the tracee, or away from it. */
  #goOn(thread: Thread, signal = 0): void {
    if (!this.#leaving) return pt.resume(thread.tid, signal);
    pt.detach(thread.tid, signal);
    this.#threads.delete(thread.tid);
    thread.process.threads.delete(thread.tid);
    if (thread.process.threads.size > 0) return;
    thread.process.image.ended = { kind: 'left-running' };
    releaseProcess(thread.process);
  }

  #newThread(id: Tid, process: Process): Thread {
    const thread: Thread = { tid: id, process, started: false, exiting: false, atInterrupt: undefined };
    process.threads.add(id);
    this.#threads.set(id, thread);
    return thread;
  }

  #newProcess(id: Pid, parent: Image | undefined, borrowsMemory: boolean): Process {
    const image = this.#newImage(id, parent, parent?.program ?? '', parent?.argv ?? []);
    return { pid: id, image, threads: new Set(), borrowsMemory, memory: undefined, pidfd: undefined };
  }

  #newImage(process: Pid, parent: Image | undefined, program: string, argv: readonly string[]): Image {
    const image: Image = {
      serial: this.#images.length,
      parent,
      pid: process,
      program,
      argv,
      startFiles: [],
      loader: [],
      uffd: undefined,
      unregistered: [],
      syscallAt: 0n,
      ended: undefined,
    };
    this.#images.push(image);
    return image;
  }
}

/** A tracee may vanish under any request: its exit is reported like any other and needs nothing here. */
function attempt(body: () => void, onLateEvent?: (event: WaitEvent) => void): void {
  try {
    body();
  } catch (error) {
    if (error instanceof pt.TraceeGone) return;
    if (error instanceof EndedDuringCall && onLateEvent !== undefined) return onLateEvent(error.event);
    throw error;
  }
}
