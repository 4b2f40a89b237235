/**
 * Programs with a handler for SIGTRAP of their own.
 *
 * Problem: where a thread meets an int3 while it blocks SIGTRAP, the kernel resets the signal's handler to
 * the default and unblocks it, whether a tracer takes the signal or not (force_sig_info_to_task in kernel/signal.c). In a
 * handler of SIGTRAP it is blocked; so one that calls a function for the first time would lose itself, and the
 * program's next int3 would kill it.
 * Method: sigaction(SIGTRAP) is noticed, and what it set is remembered. After a breakpoint of ours in such a
 * process, a handler that is gone is set again, and the signal blocked as it was.
 * Limits: of a program that blocks SIGTRAP and has no handler for it, the signal is unblocked; one that
 * ignores it does so no longer. Nobody sends it SIGTRAP but a debugger.
 */
import { readSync, writeSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import type { Control } from '../record/events.ts';
import { OWN_CALL, SYS } from '../record/filter.ts';
import { HeldUp, withCalls } from '../record/inject.ts';
import { catches } from '../record/proc.ts';
import { type Image, openMemory, type Thread } from '../record/tracees.ts';
import { getRegisters, getSignalMask, setSignalMask } from '../sys/ptrace.ts';
import type { Notice } from '../sys/seccomp.ts';

const SIGTRAP = 5;
const SIGTRAP_BIT = 1n << BigInt(SIGTRAP - 1);
/** The kernel's struct sigaction: handler, flags, restorer, mask. */
const ACTION_SIZE = 32;
const MASK_SIZE = 8n;
/** Below the red zone. Not far: a signal's own stack may be small. */
const BELOW_STACK = 256n;
/** SIG_DFL and SIG_IGN. */
const NO_HANDLERS: ReadonlySet<bigint> = new Set([0n, 1n]);

export class TrapHandlers {
  /** What sigaction was given last; undefined for no handler. */
  readonly #actions = new Map<Image, Buffer | undefined>();

  /** At the entry of sigaction(SIGTRAP, ...). */
  called(image: Image, thread: Thread, { args }: Notice, control: Control): void {
    const action = args[1] === 0n ? undefined : readMemory(thread, args[1]);
    if (action === undefined) return;
    control.afterCall(thread, (result) => {
      if (result < 0n) return;
      this.#actions.set(image, NO_HANDLERS.has(action.readBigUInt64LE()) ? undefined : action);
    });
  }

  /** After a breakpoint's trap, before the thread goes on. */
  mend(image: Image, thread: Thread): void {
    const action = this.#actionOf(image);
    if (action === undefined || catches(thread.tid, SIGTRAP)) return;
    try {
      setAction(thread, image.syscallAt, action);
      // It was blocked, or the kernel would have left the handler alone.
      setSignalMask(thread.tid, getSignalMask(thread.tid) | SIGTRAP_BIT);
    } catch (error) {
      if (!(error instanceof HeldUp)) throw error;
      // A signal came first; the next trap tries again.
      thread.held = error.signal;
    }
  }

  /** A fork's child has its parent's handler; exec takes it away. */
  #actionOf(image: Image): Buffer | undefined {
    if (this.#actions.size === 0) return undefined;
    if (!this.#actions.has(image)) {
      const { parent } = image;
      const inherited = parent === undefined || parent.pid === image.pid ? undefined : this.#actionOf(parent);
      this.#actions.set(image, inherited);
    }
    return this.#actions.get(image);
  }
}

/** The thread calls sigaction itself, with the struct on its stack below what it uses. */
function setAction(thread: Thread, syscallAt: bigint, action: Buffer): void {
  const at = (getRegisters(thread.tid).get('rsp') - BELOW_STACK) & ~0xfn;
  const before = readMemory(thread, at);
  if (before === undefined || !writeMemory(thread, at, action)) return;
  withCalls(thread.tid, syscallAt, (call) =>
    call(BigInt(SYS.rt_sigaction), BigInt(SIGTRAP), at, 0n, MASK_SIZE, BigInt(OWN_CALL)),
  );
  writeMemory(thread, at, before);
}

function readMemory(thread: Thread, at: bigint): Buffer | undefined {
  const memory = openMemory(thread);
  const bytes = Buffer.alloc(ACTION_SIZE);
  try {
    if (memory === undefined || readSync(memory, bytes, 0, ACTION_SIZE, at) < ACTION_SIZE) return undefined;
    return bytes;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

function writeMemory(thread: Thread, at: bigint, bytes: Buffer): boolean {
  const memory = openMemory(thread);
  try {
    return memory !== undefined && writeSync(memory, bytes, 0, bytes.length, Number(at)) === bytes.length;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}
