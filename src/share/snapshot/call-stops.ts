/**
 * What the tracer does to a loader's system calls, on their way in and out.
 *
 * Registers that were changed are put back at the exit: to the compiler, a system call leaves its arguments as they were.
 */
import type { Tid } from '../../base/brands.ts';
import * as pt from '../../sys/ptrace.ts';
import type { Arena } from './arena.ts';
import { type LoaderCalls, SYS_MMAP } from './loader-calls.ts';
import { Refusal } from './refusal.ts';

export type AtExit = (registers: pt.Registers) => void;

const MAP_FIXED_ANY = 0x10n | 0x10_0000n;

/** @returns what is to be done at the call's exit. @throws Refusal for a call that no loader makes. */
export function enterCall(tracee: Tid, registers: pt.Registers, calls: LoaderCalls, arena: Arena): AtExit {
  const before = calls.complaint;
  const then = calls.enter(registers);
  if (calls.complaint !== before) return swallow(tracee, registers);
  const isMmap = Number(registers.get('origRax')) === SYS_MMAP;
  if (isMmap && registers.get('rdi') === 0n && (registers.get('r10') & MAP_FIXED_ANY) === 0n) {
    return place(tracee, registers, arena);
  }
  return then === undefined ? () => undefined : (at) => then(BigInt.asIntN(64, at.get('rax')));
}

/** What is written to stderr has been read: it becomes no call, and nothing appears. */
function swallow(tracee: Tid, registers: pt.Registers): AtExit {
  registers.set('origRax', -1n);
  pt.setRegisters(tracee, registers);
  return (at) => {
    at.set('rax', registers.get('rdx'));
    pt.setRegisters(tracee, at);
  };
}

/** Gives a mapping without an address the arena's next one. */
function place(tracee: Tid, registers: pt.Registers, arena: Arena): AtExit {
  const hint = BigInt(arena.next(Number(registers.get('rsi'))));
  registers.set('rdi', hint);
  pt.setRegisters(tracee, registers);
  return (at) => {
    if (at.get('rax') !== hint) throw new Refusal('no room for the modules', 'mmap did not take the place');
    at.set('rdi', 0n);
    pt.setRegisters(tracee, at);
  };
}
