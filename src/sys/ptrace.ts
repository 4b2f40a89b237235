/**
 * ptrace(2), as the tracer needs it: x86-64, tracees attached by SEIZE.
 *
 * Hazard: ptrace is bound to the OS thread that seized the tracee. Every call here is synchronous and
 * must come from one thread.
 */
import { type Tid, type UserAddress, userAddress } from '../base/brands.ts';
import { lastErrno, libc } from './libc.ts';

export const PTRACE_EVENT_FORK = 1;
export const PTRACE_EVENT_VFORK = 2;
export const PTRACE_EVENT_CLONE = 3;
export const PTRACE_EVENT_EXEC = 4;
export const PTRACE_EVENT_EXIT = 6;
export const PTRACE_EVENT_STOP = 128;

export const PTRACE_O_TRACESYSGOOD = 0x01;
export const PTRACE_O_TRACEFORK = 0x02;
export const PTRACE_O_TRACEVFORK = 0x04;
export const PTRACE_O_TRACECLONE = 0x08;
export const PTRACE_O_TRACEEXEC = 0x10;
export const PTRACE_O_TRACEEXIT = 0x40;
export const PTRACE_O_EXITKILL = 0x100000;

const PTRACE_PEEKUSER = 3;
const PTRACE_POKEUSER = 6;
const PTRACE_CONT = 7;
const PTRACE_SINGLESTEP = 9;
const PTRACE_GETREGS = 12;
const PTRACE_SETREGS = 13;
const PTRACE_DETACH = 17;
const PTRACE_SYSCALL = 24;
const PTRACE_GETEVENTMSG = 0x4201;
const PTRACE_GETSIGINFO = 0x4202;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const PTRACE_LISTEN = 0x4208;
const PTRACE_GETSIGMASK = 0x420a;
const PTRACE_SETSIGMASK = 0x420b;

const ptraceRaw = libc.func('long ptrace(long request, long pid, uintptr_t addr, uintptr_t data)');
const ptraceBuffer = libc.func('long ptrace(long request, long pid, uintptr_t addr, void *data)');

/** What ptrace says of a tracee that died under the tracer's hands (SIGKILL can always come). */
export class TraceeGone extends Error {
  constructor(tid: Tid, request: string) {
    super(`tracee ${tid} is gone (${request})`);
    this.name = 'TraceeGone';
  }
}

export class PtraceFailed extends Error {
  readonly errno: string;
  constructor(tid: Tid, request: string, errno: string) {
    super(`ptrace ${request} of ${tid}: ${errno}`);
    this.name = 'PtraceFailed';
    this.errno = errno;
  }
}

function check(result: number | bigint, tid: Tid, request: string): number {
  const value = Number(result);
  if (value >= 0) return value;
  const errno = lastErrno();
  if (errno === 'ESRCH') throw new TraceeGone(tid, request);
  throw new PtraceFailed(tid, request, errno);
}

/** @throws PtraceFailed (EPERM: not ours, yama, a container's seccomp), TraceeGone. */
export function seize(tid: Tid, options: number): void {
  check(ptraceRaw(PTRACE_SEIZE, tid, 0, options), tid, 'SEIZE');
}

export const interrupt = (tid: Tid): void =>
  void check(ptraceRaw(PTRACE_INTERRUPT, tid, 0, 0), tid, 'INTERRUPT');

/** Runs on to the next event; `signal` is delivered, 0 for none. */
export const resume = (tid: Tid, signal = 0): void =>
  void check(ptraceRaw(PTRACE_CONT, tid, 0, signal), tid, 'CONT');

/** Runs on to the next entry or exit of a system call, or the next event. */
export const resumeToSyscall = (tid: Tid, signal = 0): void =>
  void check(ptraceRaw(PTRACE_SYSCALL, tid, 0, signal), tid, 'SYSCALL');

export const singleStep = (tid: Tid, signal = 0): void =>
  void check(ptraceRaw(PTRACE_SINGLESTEP, tid, 0, signal), tid, 'SINGLESTEP');

/** Leaves a tracee in its group-stop, so that job control works as without a tracer. */
export const listen = (tid: Tid): void => void check(ptraceRaw(PTRACE_LISTEN, tid, 0, 0), tid, 'LISTEN');

export const detach = (tid: Tid, signal = 0): void =>
  void check(ptraceRaw(PTRACE_DETACH, tid, 0, signal), tid, 'DETACH');

const messageBuffer = Buffer.alloc(8);

/** The new thread's id at fork events, the exit status at exit events, the old thread id at exec. */
export function eventMessage(tid: Tid): number {
  check(ptraceBuffer(PTRACE_GETEVENTMSG, tid, 0, messageBuffer), tid, 'GETEVENTMSG');
  return Number(messageBuffer.readBigUInt64LE());
}

/** struct user_regs_struct: 27 words of 64 bits. */
const REGS_SIZE = 27 * 8;
const REG = {
  rax: 10,
  rcx: 11,
  rdx: 12,
  rsi: 13,
  rdi: 14,
  origRax: 15,
  rip: 16,
  r8: 9,
  r9: 8,
  r10: 7,
  rsp: 19,
} as const;
export type RegisterName = keyof typeof REG;

/** The general registers of one stop; a copy. */
export class Registers {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get(name: RegisterName): bigint {
    return this.#bytes.readBigUInt64LE(REG[name] * 8);
  }

  set(name: RegisterName, value: bigint): void {
    this.#bytes.writeBigUInt64LE(BigInt.asUintN(64, value), REG[name] * 8);
  }

  copy(): Registers {
    return new Registers(Buffer.from(this.#bytes));
  }

  get bytes(): Buffer {
    return this.#bytes;
  }
}

export function getRegisters(tid: Tid): Registers {
  const bytes = Buffer.alloc(REGS_SIZE);
  check(ptraceBuffer(PTRACE_GETREGS, tid, 0, bytes), tid, 'GETREGS');
  return new Registers(bytes);
}

export const setRegisters = (tid: Tid, registers: Registers): void =>
  void check(ptraceBuffer(PTRACE_SETREGS, tid, 0, registers.bytes), tid, 'SETREGS');

/** Where the tracee goes on, alone: a word in place of all registers. */
export const instructionPointer = (tid: Tid): UserAddress =>
  userAddress(check(ptraceRaw(PTRACE_PEEKUSER, tid, REG.rip * 8, 0), tid, 'PEEKUSER'));

export const setInstructionPointer = (tid: Tid, at: UserAddress): void =>
  void check(ptraceRaw(PTRACE_POKEUSER, tid, REG.rip * 8, at), tid, 'POKEUSER');

const signalInfo = Buffer.alloc(128);

/**
 * si_code of the signal that is about to be delivered: SI_KERNEL for the trap of an int3, other positive
 * figures for other traps, at most 0 for what some process sent.
 */
export function signalCode(tid: Tid): number {
  check(ptraceBuffer(PTRACE_GETSIGINFO, tid, 0, signalInfo), tid, 'GETSIGINFO');
  return signalInfo.readInt32LE(8);
}

export const SI_KERNEL = 0x80;

/** The blocked signals, as a mask of 64 bits. */
export function getSignalMask(tid: Tid): bigint {
  const mask = Buffer.alloc(8);
  check(ptraceBuffer(PTRACE_GETSIGMASK, tid, 8, mask), tid, 'GETSIGMASK');
  return mask.readBigUInt64LE();
}

export function setSignalMask(tid: Tid, value: bigint): void {
  const mask = Buffer.alloc(8);
  mask.writeBigUInt64LE(BigInt.asUintN(64, value));
  check(ptraceBuffer(PTRACE_SETSIGMASK, tid, 8, mask), tid, 'SETSIGMASK');
}

export const SEGV_ACCERR = 2;

/** What the kernel says of a fault, at the stop before its signal is delivered. */
export interface Fault {
  /** `si_code`: SEGV_ACCERR where the page is there and the access is not allowed. */
  readonly code: number;
  /** `si_addr` */
  readonly at: bigint;
}

export function faultOf(tid: Tid): Fault {
  const info = Buffer.alloc(128);
  check(ptraceBuffer(PTRACE_GETSIGINFO, tid, 0, info), tid, 'GETSIGINFO');
  return { code: info.readInt32LE(8), at: info.readBigUInt64LE(16) };
}
