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
 *
 * Over 300 lines: a tracee's stops are one state machine, which is easier to get wrong in two files. Who is
 * who stands in `family.ts`, what came too early in `newborn.ts`.
 */
import { type Pid, pid, type Tid, tid } from '../base/brands.ts';
import type { Ended } from '../profile/model.ts';
import type { Fd } from '../sys/fds.ts';
import * as pt from '../sys/ptrace.ts';
import { letGo, type Notice } from '../sys/seccomp.ts';
import { pollAny, type WaitEvent, waitFor } from '../sys/wait.ts';
import { SIGCHLD, type Waker } from '../sys/wake.ts';
import type { Control, Observer, TraceEvent } from './events.ts';
import { Family } from './family.ts';
import { SYS } from './filter.ts';
import { EndedDuringCall, HeldUp } from './inject.ts';
import { Newborn } from './newborn.ts';
import { isTrapOnItsWay, readExecuted, readFamily } from './proc.ts';
import { type Image, releaseMemory, releaseProcess, type Thread } from './tracees.ts';

const OPTIONS =
  pt.PTRACE_O_TRACESYSGOOD |
  pt.PTRACE_O_TRACEFORK |
  pt.PTRACE_O_TRACEVFORK |
  pt.PTRACE_O_TRACECLONE |
  pt.PTRACE_O_TRACEEXEC |
  pt.PTRACE_O_TRACEEXIT;

const SIGTRAP = 5;
const SIGSEGV = 11;
const GROUP_STOPS: ReadonlySet<number> = new Set([19, 20, 21, 22]);
const PROT_EXEC = 4n;
/** While leaving: how often to look for orphans. */
const LEAVING_MS = 100;
/** Stops dealt with in one go before notices get their turn again. */
const STOPS_A_TURN = 64;

export class Tracer implements Control {
  #observers: readonly Observer[];
  readonly #waker: Waker;
  #listener: Fd | undefined;
  readonly #family = new Family();
  readonly #newborn = new Newborn();
  readonly #onStopped: (signal: number) => void;
  #leaving = false;

  /** @param onStopped told when job control has stopped the first process. */
  constructor(observers: readonly Observer[], waker: Waker, onStopped: (signal: number) => void = () => {}) {
    this.#observers = observers;
    this.#waker = waker;
    this.#onStopped = onStopped;
  }

  get images(): readonly Image[] {
    return this.#family.images;
  }

  /** How the first process ended; undefined while it lives. */
  get rootEnded(): Ended | undefined {
    return this.#family.rootEnded;
  }

  /** A thread that still runs of each process. */
  get liveThreads(): readonly Thread[] {
    return this.#family.liveThreads;
  }

  get rootPid(): Pid | undefined {
    return this.#family.root?.pid;
  }

  /**
   * Takes a waiting stub under its wing. EXITKILL: with the tracer gone its notices would be answered
   * by ENOSYS, and a program that cannot open files must not go on as if nothing had happened.
   *
   * @throws PtraceFailed where tracing is refused.
   */
  adopt(stub: Pid): void {
    pt.seize(tid(stub), OPTIONS | pt.PTRACE_O_EXITKILL);
    const process = this.#family.bearProcess(stub, undefined, false);
    this.#family.root = process;
    this.#family.bearThread(tid(stub), process).started = true;
  }

  /** Whether any observer asks for `module-mapped`. */
  get wantsArrivals(): boolean {
    return this.#observers.some(({ wantsArrivals }) => wantsArrivals === true);
  }

  /** An observer hears of nothing any more. */
  dismiss(observer: Observer | undefined): void {
    this.#observers = this.#observers.filter((one) => one !== observer);
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
    while (this.#family.threads.size + this.#newborn.size > 0) {
      const woken = this.#waker.wait(this.#listener, timeoutMs(), this.#mustHold);
      if (woken.lookUps !== undefined)
        this.#emit({ kind: 'look-ups', log: woken.lookUps, imageOf: this.#imageOf });
      if (woken.notice !== undefined && this.#listener !== undefined)
        this.#answer(this.#listener, woken.notice);
      if (woken.listenerGone) this.#listener = undefined;
      // After a time-out too: no lost wake-up may leave a tracee standing.
      if (woken.signals.has(SIGCHLD) || (woken.signals.size === 0 && woken.notice === undefined))
        this.#drainStops();
      if (this.#newborn.size > 0) this.#adoptOrphans();
      if (interrupted(woken.signals)) return false;
    }
    return true;
  }

  /** Detaches from every tracee and leaves it running; calls go on being answered meanwhile. */
  leave(): void {
    this.#leaving = true;
    for (const thread of this.#family.threads.values()) {
      thread.atInterrupt = [];
      // One that has exited never stops again; as a leader it may stay for long.
      if (thread.exiting) this.#family.forget(thread);
      else attempt(() => pt.interrupt(thread.tid));
    }
    this.run(
      () => false,
      () => LEAVING_MS,
    );
  }

  afterCall(thread: Thread, then: (result: bigint) => void): void {
    thread.atInterrupt.push(() => then(BigInt.asIntN(64, pt.getRegisters(thread.tid).get('rax'))));
    if (thread.atInterrupt.length > 1) return;
    attempt(() => pt.interrupt(thread.tid));
  }

  /** Whether somebody waits for the next call, whatever it is. */
  get #mustHold(): boolean {
    return this.#leaving || this.#observers.some(({ wantsNextCall }) => wantsNextCall === true);
  }

  #answer(listener: Fd, notice: Notice): void {
    const thread = this.#family.threads.get(notice.tid);
    try {
      if (thread !== undefined && !this.#leaving) {
        const image = thread.process.image;
        const execve = notice.nr === SYS.execve || notice.nr === SYS.execveat;
        this.#emit({ kind: execve ? 'image-replacing' : 'call', image, thread, notice });
        if (notice.nr === SYS.mmap && this.wantsArrivals && (notice.args[2] & PROT_EXEC) !== 0n) {
          this.afterCall(thread, (at) => {
            if (at > 0n) this.#emitStopped({ kind: 'module-mapped', image, thread, at, notice });
          });
        }
      }
    } finally {
      letGo(listener, notice.id);
    }
  }

  readonly #imageOf = (id: Tid): Image | undefined => this.#family.threads.get(id)?.process.image;

  #emit(event: TraceEvent): void {
    for (const observer of this.#observers) attempt(() => observer.observe(event, this));
    if (event.kind === 'image-started') this.#waker.noteProcess(event.image.pid, event.image.loader);
    if (event.kind === 'image-ended') this.#waker.forgetProcess(event.image.pid);
  }

  /** For events at which calls may be made for the tracee. */
  #emitStopped(event: TraceEvent & { readonly thread: Thread }): void {
    try {
      this.#emit(event);
    } catch (error) {
      if (!(error instanceof HeldUp)) throw error;
      const { thread } = event;
      thread.held = error.signal;
      thread.atInterrupt.push(() => this.#emitStopped(event));
      pt.interrupt(thread.tid);
    }
  }

  #drainStops(): void {
    for (let i = 0; i < STOPS_A_TURN; i++) {
      const event = pollAny();
      if (event === 'no-children') return this.#forgetAll();
      if (typeof event === 'string') return;
      this.#dispatch(event);
    }
    // More may wait; their SIGCHLD has been taken already.
    this.#waker.again();
  }

  #dispatch(event: WaitEvent): void {
    const thread = this.#family.threads.get(event.tid);
    if (thread === undefined) return this.#newborn.keep(event);
    attempt(
      () => this.#handle(thread, event),
      (late) => this.#dispatch(late),
    );
  }

  #handle(thread: Thread, event: WaitEvent): void {
    // A newborn that is killed at once has no first stop.
    if (event.kind !== 'stop') thread.started = true;
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
        this.#handleExec(thread);
        return this.#goOn(thread);
      case pt.PTRACE_EVENT_EXIT:
        this.#handleExit(thread);
        return this.#goOn(thread);
      default:
        return this.#goOn(thread);
    }
  }

  #handleBirth(parent: Thread, event: number, child: Tid): void {
    if (this.#family.threads.has(child)) return;
    const isThread = event === pt.PTRACE_EVENT_CLONE && readFamily(child).group === parent.process.pid;
    const process = isThread
      ? parent.process
      : this.#family.bearProcess(pid(child), parent.process.image, event === pt.PTRACE_EVENT_VFORK);
    this.#welcome(this.#family.bearThread(child, process));
  }

  /** Those whose parent was killed before it could report them. */
  #adoptOrphans(): void {
    for (const orphan of this.#newborn.orphans()) {
      const { group, parent } = readFamily(orphan);
      const origin = this.#family.processOf(parent) ?? this.#family.root;
      const process =
        this.#family.processOf(group) ?? this.#family.bearProcess(pid(orphan), origin?.image, false);
      this.#welcome(this.#family.bearThread(orphan, process));
    }
  }

  /** On with what it has reported already. */
  #welcome(thread: Thread): void {
    for (const event of this.#newborn.take(thread.tid)) this.#dispatch(event);
  }

  #begin(thread: Thread): void {
    thread.started = true;
    const { process } = thread;
    if (process.threads.size === 1 && !process.borrowsMemory && !this.#leaving) {
      attempt(
        () => this.#emitStopped({ kind: 'image-started', image: process.image, thread, how: 'fork' }),
        (late) => this.#dispatch(late),
      );
    }
    this.#goOn(thread);
  }

  #handleStop(thread: Thread, signal: number): void {
    if (!thread.started) return this.#begin(thread);
    // A breakpoint's trap that is on its way would kill the program without us: it comes next.
    if (this.#leaving) return isTrapOnItsWay(thread.tid) ? pt.resume(thread.tid) : this.#goOn(thread);
    if (!GROUP_STOPS.has(signal)) {
      const plans = thread.atInterrupt;
      thread.atInterrupt = [];
      for (const plan of plans) plan();
      return this.#goOn(thread);
    }
    // Plans wait until it goes on: what steps in a group-stop leaves it.
    pt.listen(thread.tid);
    if (Number(thread.tid) === Number(this.rootPid)) this.#onStopped(signal);
  }

  #handleSignal(thread: Thread, signal: number): void {
    if (signal === SIGTRAP) {
      const event = { kind: 'trap' as const, image: thread.process.image, thread, handled: false };
      this.#emit(event);
      if (event.handled) return this.#goOn(thread);
    }
    this.#goOn(thread, signal === SIGSEGV && this.#handleFault(thread) ? 0 : signal);
  }

  /** Whether the instruction can be tried again. */
  #handleFault(thread: Thread): boolean {
    if (!this.#observers.some(({ wantsFaults }) => wantsFaults === true)) return false;
    const { image } = thread.process;
    const event = { kind: 'fault' as const, image, thread, fault: pt.faultOf(thread.tid), handled: false };
    try {
      this.#emit(event);
    } catch (error) {
      if (!(error instanceof HeldUp)) throw error;
      // The signal that came first is delivered; the instruction faults again.
      thread.held = error.signal;
      return true;
    }
    return event.handled;
  }

  #handleExec(thread: Thread): void {
    const { process } = thread;
    this.#family.keepOnly(thread);
    const before = process.image;
    before.ended = { kind: 'execed' };
    this.#emit({ kind: 'image-ended', image: before });
    releaseMemory(process);
    process.borrowsMemory = false;
    process.image = this.#family.bearImage(process.pid, before, readExecuted(process.pid));
    if (this.#leaving) return;
    // From the exec event to the exit of execve, where calls can be made for the tracee.
    pt.resumeToSyscall(thread.tid);
    const stop = waitFor(thread.tid);
    if (typeof stop === 'string') return;
    if (stop.kind !== 'syscall') throw new EndedDuringCall(stop);
    this.#emitStopped({ kind: 'image-started', image: process.image, thread, how: 'exec' });
  }

  #handleExit(thread: Thread): void {
    thread.exiting = true;
    const { process } = thread;
    for (const other of process.threads) if (this.#family.threads.get(other)?.exiting !== true) return;
    if (process.borrowsMemory || this.#leaving) return;
    this.#emit({ kind: 'memory-ending', image: process.image, tid: thread.tid });
  }

  #remove(thread: Thread, ended: Ended): void {
    if (!this.#family.bury(thread, ended)) return;
    this.#emit({ kind: 'image-ended', image: thread.process.image });
    releaseProcess(thread.process);
  }

  /** Every stop ends here: on with the tracee, or away from it. */
  #goOn(thread: Thread, next = 0): void {
    const signal = next === 0 ? thread.held : next;
    thread.held = 0;
    if (!this.#leaving) return pt.resume(thread.tid, signal);
    this.#emit({ kind: 'letting-go', image: thread.process.image, thread });
    pt.detach(thread.tid, signal);
    this.#family.forget(thread);
  }

  /** The kernel knows of no tracee: whatever we still wait for is gone. */
  #forgetAll(): void {
    this.#newborn.clear();
    for (const thread of this.#family.threads.values()) this.#family.forget(thread);
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
