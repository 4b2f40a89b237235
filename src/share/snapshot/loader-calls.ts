/**
 * The system calls of a dynamic loader before the first constructor, and what they say of the state it makes.
 *
 * The list is closed. A call that is not on it was made by an IFUNC resolver, or by a loader that we do not
 * know: its result may be in the state without any trace of where it came from.
 */
import { resolve } from 'node:path';
import { RLIMIT } from '../../sys/limits.ts';
import type { Registers } from '../../sys/ptrace.ts';
import type { LoaderLookup } from '../model.ts';
import { Refusal } from './refusal.ts';
import type { TraceeMemory } from './tracee-memory.ts';

const NR = {
  read: 0,
  write: 1,
  open: 2,
  close: 3,
  stat: 4,
  fstat: 5,
  lstat: 6,
  mmap: 9,
  mprotect: 10,
  munmap: 11,
  brk: 12,
  pread64: 17,
  writev: 20,
  access: 21,
  exit: 60,
  uname: 63,
  readlink: 89,
  archPrctl: 158,
  setTidAddress: 218,
  exitGroup: 231,
  openat: 257,
  newfstatat: 262,
  readlinkat: 267,
  faccessat: 269,
  setRobustList: 273,
  prlimit64: 302,
  statx: 332,
  rseq: 334,
  faccessat2: 439,
} as const;
export const SYS_MMAP = NR.mmap;

/** Without effect on the state but through memory that they fill from files which are watched. */
const PLAIN = new Set<number>([
  NR.close,
  NR.fstat,
  NR.mmap,
  NR.mprotect,
  NR.munmap,
  NR.uname,
  NR.exit,
  NR.exitGroup,
]);

/** The path is the first argument, or the second after a folder's descriptor. */
const BY_PATH = new Set<number>([NR.open, NR.stat, NR.lstat, NR.access, NR.readlink]);
const AT_FOLDER = new Set<number>([
  NR.openat,
  NR.newfstatat,
  NR.readlinkat,
  NR.faccessat,
  NR.statx,
  NR.faccessat2,
]);
const AT_FDCWD = -100;
const O_ACCMODE_AND_CREAT = 3n | 0o100n;
const ARCH_SET_FS = 0x1002n;

export interface RobustList {
  readonly at: number;
  readonly size: number;
}

export interface RseqArea {
  readonly at: number;
  readonly size: number;
  readonly signature: number;
}

/** What one run of the loader told the kernel and asked it. */
export class LoaderCalls {
  readonly lookups: LoaderLookup[] = [];
  threadPointer: number | undefined;
  tidAt: number | undefined;
  tid: number | undefined;
  robust: RobustList | undefined;
  rseq: RseqArea | undefined;
  /** What brk(0) said. */
  break: number | undefined;
  /** What the loader wrote to stderr: why it gave up. */
  complaint = '';
  readonly #memory: TraceeMemory;
  readonly #cwd: string;

  /** @param cwd of the run, for paths that are relative. */
  constructor(memory: TraceeMemory, cwd: string) {
    this.#memory = memory;
    this.#cwd = cwd;
  }

  /**
   * Looks at a call before the kernel does.
   * @returns what is to be done with its result; undefined: nothing.
   * @throws Refusal for a call that no loader makes.
   */
  enter(registers: Registers): ((result: bigint) => void) | undefined {
    const nr = Number(registers.get('origRax'));
    if (PLAIN.has(nr)) return undefined;
    if (BY_PATH.has(nr)) return this.#lookUp(nr, registers.get('rdi'), registers.get('rsi'));
    if (AT_FOLDER.has(nr)) return this.#lookUpAt(nr, registers);
    const rdi = registers.get('rdi');
    const rsi = Number(registers.get('rsi'));
    switch (nr) {
      case NR.read:
      case NR.pread64:
        // A terminal or pipe would keep us waiting, and what comes from there is not there at a start.
        if (rdi <= 2n) throw new Refusal('an unknown system call', `read from file ${rdi}`);
        return undefined;
      case NR.write:
      case NR.writev:
        this.#complain(nr === NR.writev, registers);
        return undefined;
      case NR.brk:
        if (rdi !== 0n) throw new Refusal('memory on the heap', 'the loader or an IFUNC resolver calls brk');
        return (result) => {
          this.break = Number(result);
        };
      case NR.archPrctl:
        if (rdi === ARCH_SET_FS) {
          return expectDone('arch_prctl', () => {
            this.threadPointer = rsi;
          });
        }
        // Questions about shadow stacks, which kernels without them deny.
        return (result) => {
          if (result >= 0n) throw new Refusal('an unknown system call', `arch_prctl 0x${rdi.toString(16)}`);
        };
      case NR.setTidAddress:
        this.tidAt = Number(rdi);
        return (result) => {
          this.tid = Number(result);
        };
      case NR.setRobustList:
        return expectDone('set_robust_list', () => {
          this.robust = { at: Number(rdi), size: rsi };
        });
      case NR.rseq: {
        const signature = Number(registers.get('r10'));
        return (result) => {
          if (result === 0n) this.rseq = { at: Number(rdi), size: rsi, signature };
        };
      }
      case NR.prlimit64:
        // Other limits are not guarded when the image is used.
        if (registers.get('rdx') !== 0n || rsi !== RLIMIT.stack) {
          throw new Refusal('an unknown system call', `prlimit64 of limit ${rsi}`);
        }
        return undefined;
      default:
        throw new Refusal(
          'an unknown system call',
          `number ${nr}, which no dynamic loader makes: an IFUNC resolver may`,
        );
    }
  }

  #lookUpAt(nr: number, registers: Registers): ((result: bigint) => void) | undefined {
    const path = registers.get('rsi');
    const folder = Number(BigInt.asIntN(32, registers.get('rdi')));
    const name = this.#memory.text(Number(path));
    // fstat of an open file, as newfstatat with an empty path.
    if (name === '') return undefined;
    if (folder !== AT_FDCWD && name?.startsWith('/') !== true) {
      throw new Refusal('an unknown system call', `a path relative to an open folder: ${name}`);
    }
    return this.#lookUp(nr, path, registers.get('rdx'));
  }

  #lookUp(nr: number, at: bigint, flags: bigint): (result: bigint) => void {
    const name = this.#memory.text(Number(at)) ?? '';
    const opens = nr === NR.open || nr === NR.openat;
    if (opens && (flags & O_ACCMODE_AND_CREAT) !== 0n) {
      throw new Refusal('an unknown system call', `a file is opened for writing: ${name}`);
    }
    const path = resolve(this.#cwd, name);
    return (result) => this.lookups.push({ path, found: result >= 0n });
  }

  #complain(isVector: boolean, registers: Registers): void {
    if (registers.get('rdi') !== 2n) throw new Refusal('an unknown system call', 'write to another file');
    const at = Number(registers.get('rsi'));
    const count = Number(registers.get('rdx'));
    if (!isVector) {
      this.complaint += this.#memory.read(at, Math.min(count, 4096)).toString();
      return;
    }
    for (let i = 0; i < Math.min(count, 64); i++) {
      const size = Math.min(Number(this.#memory.word(at + 16 * i + 8)), 4096);
      if (size > 0)
        this.complaint += this.#memory.read(Number(this.#memory.word(at + 16 * i)), size).toString();
    }
  }
}

const expectDone =
  (name: string, then: () => void): ((result: bigint) => void) =>
  (result) => {
    if (result !== 0n) throw new Refusal('a system call failed', name);
    then();
  };
