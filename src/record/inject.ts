/**
 * System calls made on a tracee's behalf, while it is stopped between two of its own instructions.
 *
 * Method: point rip at a `syscall` instruction of the vDSO, set the registers, step once, put
 * everything back. Signals are blocked meanwhile, so that the step's trap is the next thing to come. Only
 * SIGSTOP cannot be blocked: it is held back and sent again afterwards.
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
  sendSignal,
  setRegisters,
  setSignalMask,
  singleStep,
  TraceeGone,
} from '../sys/ptrace.ts';
import { type WaitEvent, waitFor } from '../sys/wait.ts';
import { isPending } from './proc.ts';

const SIGTRAP = 5;
const SIGCONT = 18;
const SIGSTOP = 19;
const ALL_SIGNALS = 0xffffffffffffffffn;
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

/** Several calls in one stop; results as the kernel gives them (negative: -errno). */
export function withCalls<T>(
  tid: Tid,
  syscallAt: bigint,
  body: (call: (nr: bigint, ...args: bigint[]) => bigint) => T,
): T {
  const saved = getRegisters(tid);
  const mask = getSignalMask(tid);
  setSignalMask(tid, ALL_SIGNALS);
  const held = { stopped: false };
  const result = body((nr, ...args) => callOnce(tid, saved, syscallAt, nr, args, held));
  setRegisters(tid, saved);
  setSignalMask(tid, mask);
  // A SIGCONT since then takes it back, as it does with one that waits.
  if (held.stopped && !isPending(tid, SIGCONT)) sendSignal(tid, SIGSTOP);
  return result;
}

function callOnce(
  tid: Tid,
  saved: Registers,
  syscallAt: bigint,
  nr: bigint,
  args: bigint[],
  held: { stopped: boolean },
): bigint {
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
    if (event === 'interrupted') continue;
    if (typeof event === 'string') throw new Error(`waiting for an injected call: ${event}`);
    const stopped = event.kind === 'signal' && event.signal === SIGSTOP;
    if (stopped) held.stopped = true;
    if (stopped || event.kind === 'stop') continue;
    if (event.kind !== 'signal' || event.signal !== SIGTRAP) throw new EndedDuringCall(event);
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
