/**
 * System calls made on a tracee's behalf, while it is stopped between two of its own instructions.
 *
 * Method: point rip at a `syscall` instruction of the vDSO, set the registers, step once, put
 * everything back. Signals are blocked meanwhile, so that the step's trap is the next thing to come. SIGSTOP
 * cannot be blocked, and SIGTRAP must not be: the step's trap would reset the program's handler for it. When one
 * of them comes, everything is put back, and HeldUp says that it has to be delivered first, as only the kernel
 * can tell whether a SIGCONT has taken a SIGSTOP back already.
 * Limits: not at the entry of a system call (a syscall or seccomp stop there), since that call would run
 * in place of ours.
 */
import { readSync } from 'node:fs';
import type { Tid } from '../base/brands.ts';
import type { Fd } from '../sys/fds.ts';
import type { Mapping } from '../sys/maps.ts';
import {
  getRegisters,
  getSignalMask,
  type RegisterName,
  type Registers,
  setRegisters,
  setSignalMask,
  signalCode,
  singleStep,
  TraceeGone,
} from '../sys/ptrace.ts';
import { type WaitEvent, waitFor } from '../sys/wait.ts';

const SIGTRAP = 5;
/** But SIGTRAP. */
const ALL_SIGNALS = 0xffffffffffffffefn;
const NO_SYSCALL = 0xffffffffffffffffn;
const ARGUMENTS: readonly RegisterName[] = ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'];

/** A tracee ended while a call was made for it; the event belongs to the tracer's loop. */
export class EndedDuringCall extends Error {
  readonly event: WaitEvent;
  constructor(event: WaitEvent) {
    super('the tracee ended during an injected call');
    this.name = 'EndedDuringCall';
    this.event = event;
  }
}

/** A signal came before the call was made; deliver it, and try again when the tracee stops next. */
export class HeldUp extends Error {
  readonly signal: number;
  constructor(signal: number) {
    super(`signal ${signal} came before an injected call`);
    this.name = 'HeldUp';
    this.signal = signal;
  }
}

/**
 * Several calls in one stop; results as the kernel gives them (negative: -errno).
 *
 * @throws TraceeGone, EndedDuringCall, HeldUp.
 */
export function withCalls<T>(
  tid: Tid,
  syscallAt: bigint,
  body: (call: (nr: bigint, ...args: bigint[]) => bigint) => T,
): T {
  const saved = getRegisters(tid);
  const mask = getSignalMask(tid);
  setSignalMask(tid, ALL_SIGNALS);
  const restore = (): void => {
    setRegisters(tid, saved);
    setSignalMask(tid, mask);
  };
  let result: T;
  try {
    result = body((nr, ...args) => callOnce(tid, saved, syscallAt, nr, args));
  } catch (error) {
    // What has ended has no registers any more, and its end must be told.
    if (!(error instanceof EndedDuringCall)) restore();
    throw error;
  }
  restore();
  return result;
}

function callOnce(tid: Tid, saved: Registers, syscallAt: bigint, nr: bigint, args: bigint[]): bigint {
  const registers = saved.copy();
  registers.set('rax', nr);
  // Not in a system call: or the kernel would restart the interrupted one.
  registers.set('origRax', NO_SYSCALL);
  registers.set('rip', syscallAt);
  args.forEach((value, i) => {
    const name = ARGUMENTS[i];
    if (name !== undefined) registers.set(name, value);
  });
  setRegisters(tid, registers);
  for (;;) {
    singleStep(tid);
    const event = waitFor(tid);
    if (event === 'no-children') throw new TraceeGone(tid, 'injected call');
    if (typeof event === 'string') throw new Error(`waiting for an injected call: ${event}`);
    if (event.kind === 'stop') continue;
    if (event.kind !== 'signal') throw new EndedDuringCall(event);
    if (event.signal !== SIGTRAP || signalCode(tid) <= 0) throw new HeldUp(event.signal);
    return BigInt.asIntN(64, getRegisters(tid).get('rax'));
  }
}

let offsetInVdso: number | undefined;

/** The address of a `syscall` instruction in the vDSO, or 0n without one. All processes share one vDSO. */
export function findSyscall(memory: Fd, mappings: readonly Mapping[]): bigint {
  const vdso = mappings.find(({ path }) => path === '[vdso]');
  if (vdso === undefined) return 0n;
  if (offsetInVdso === undefined) {
    const code = Buffer.alloc(vdso.end - vdso.start);
    const got = readSync(memory, code, 0, code.length, vdso.start);
    offsetInVdso = code.subarray(0, got).indexOf(Buffer.from([0x0f, 0x05]));
  }
  return offsetInVdso < 0 ? 0n : BigInt(vdso.start + offsetInVdso);
}
