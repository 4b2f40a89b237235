/**
 * What the tracer does to a loader's system calls, on their way in and out.
 *
 * Registers that were changed are put back at the exit: to the compiler, a system call leaves its arguments as they were.
 */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Tid } from '../base/brands.ts';
import { errnoOf } from '../base/errors.ts';
import * as pt from '../sys/ptrace.ts';
import type { Arena } from './arena.ts';
import { type LoaderCalls, NR } from './loader-calls.ts';
import { Refusal } from './refusal.ts';
import type { TraceeMemory } from './tracee-memory.ts';

/** Files that the loader gets in place of others: by the path of the original, links resolved. */
export type ShownFiles = ReadonlyMap<string, string>;

export interface Stage {
  readonly tracee: Tid;
  readonly memory: TraceeMemory;
  readonly calls: LoaderCalls;
  readonly arena: Arena;
  readonly shown: ShownFiles;
  /** The program, and the file that was started for it. */
  readonly program: string;
  readonly started: string;
  readonly cwd: string;
}

type AtExit = (registers: pt.Registers) => void;

const MAP_FIXED_ANY = 0x10n | 0x10_0000n;
/** Below the stack pointer, behind what functions may use without moving it; the kernel maps 128 KiB at the start. */
const BELOW_STACK = 8192n;
const OWN_NAME = '/proc/self/exe';

/** @returns what is to be done at the call's exit. @throws Refusal for a call that no loader makes. */
export function enterCall(stage: Stage, registers: pt.Registers): AtExit {
  const { calls } = stage;
  const before = calls.complaint;
  const then = calls.enter(registers);
  const noted: AtExit = (at) => then?.(BigInt.asIntN(64, at.get('rax')));
  if (calls.complaint !== before) return swallow(stage, registers);
  switch (Number(registers.get('origRax'))) {
    case NR.mmap:
      return place(stage, registers);
    case NR.open:
      return redirect(stage, registers, 'rdi', noted);
    case NR.openat:
      return redirect(stage, registers, 'rsi', noted);
    case NR.readlink:
      return tellOriginal(stage, registers, noted);
    default:
      return noted;
  }
}

/** What is written to stderr has been read: it becomes no call, and nothing appears. */
function swallow({ tracee }: Stage, registers: pt.Registers): AtExit {
  registers.set('origRax', -1n);
  pt.setRegisters(tracee, registers);
  return (at) => {
    at.set('rax', registers.get('rdx'));
    pt.setRegisters(tracee, at);
  };
}

/** Gives a mapping without an address the arena's next one. */
function place({ tracee, arena }: Stage, registers: pt.Registers): AtExit {
  if (registers.get('rdi') !== 0n || (registers.get('r10') & MAP_FIXED_ANY) !== 0n) return () => undefined;
  const hint = BigInt(arena.next(Number(registers.get('rsi'))));
  registers.set('rdi', hint);
  pt.setRegisters(tracee, registers);
  return (at) => {
    if (at.get('rax') !== hint) throw new Refusal('no room for the modules', 'mmap did not take the place');
    at.set('rdi', 0n);
    pt.setRegisters(tracee, at);
  };
}

/** Opens the file that is shown in place of the one that is named. */
function redirect(stage: Stage, registers: pt.Registers, register: 'rdi' | 'rsi', noted: AtExit): AtExit {
  const { tracee, memory, shown, cwd } = stage;
  if (shown.size === 0) return noted;
  const named = registers.get(register);
  const file = shown.get(resolved(resolve(cwd, memory.text(Number(named)) ?? '')));
  if (file === undefined) return noted;
  const bytes = Buffer.from(`${file}\0`);
  const at = registers.get('rsp') - BELOW_STACK - BigInt(bytes.length);
  memory.write(Number(at), bytes);
  registers.set(register, at);
  pt.setRegisters(tracee, registers);
  return (exit) => {
    noted(exit);
    exit.set(register, named);
    pt.setRegisters(tracee, exit);
  };
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return path;
  }
}

/** $ORIGIN is the folder of the original, whichever file was started. */
function tellOriginal(stage: Stage, registers: pt.Registers, noted: AtExit): AtExit {
  const { tracee, memory, program, started } = stage;
  if (program === started || memory.text(Number(registers.get('rdi'))) !== OWN_NAME) return noted;
  const path = Buffer.from(program).subarray(0, Number(registers.get('rdx')));
  return (at) => {
    noted(at);
    memory.write(Number(registers.get('rsi')), path);
    at.set('rax', BigInt(path.length));
    pt.setRegisters(tracee, at);
  };
}
