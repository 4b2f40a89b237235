/** General registers and their parts, and what an instruction uses of them. */
import type { Instruction, InstructionInfoFactory } from 'iced-x86';
import { iced } from './iced.ts';

/** A general register by its number in encodings: 0 rax, 1 rcx, 2 rdx, 3 rbx, 4 rsp, ..., 15 r15. */
export type Gpr = number;
export const NONE = -1;
export const GPRS = 16;
/** rax and rdx, in which calls return. */
export const RESULTS: readonly Gpr[] = [0, 2];
/** What the psABI lets calls overwrite: rax, rcx, rdx, rsi, rdi, r8 to r11. */
export const CALLER_SAVED: readonly Gpr[] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/** All parts of a register; a part is a bit: byte 0, byte 1, bytes 2 to 3, bytes 4 to 7. */
export const WHOLE = 0b1111;
/** The lower 32 bits. */
export const HALF = 0b0111;

/** What an instruction uses of one register. A conditional write is none: the old value may stay. */
export interface RegisterUse {
  readonly register: Gpr;
  /** The parts whose value matters. */
  readonly reads: number;
  /** The parts whose old value is gone. */
  readonly writes: number;
}

interface Slot {
  readonly register: Gpr;
  readonly parts: number;
}

const NO_SLOT: Slot = { register: NONE, parts: 0 };
let slots: readonly Slot[] | undefined;

/** The general register that one of iced-x86's registers is, and which parts. */
export function slotOf(register: number): Slot {
  slots ??= makeSlots();
  return slots[register] ?? NO_SLOT;
}

function makeSlots(): readonly Slot[] {
  const { Register } = iced();
  const table: Slot[] = [];
  const row = (first: number, count: number, register: number, parts: number): void => {
    for (let i = 0; i < count; i++) table[first + i] = { register: register + i, parts };
  };
  row(Register.AL, 4, 0, 0b0001);
  row(Register.AH, 4, 0, 0b0010);
  row(Register.SPL, 12, 4, 0b0001);
  row(Register.AX, GPRS, 0, 0b0011);
  row(Register.EAX, GPRS, 0, HALF);
  row(Register.RAX, GPRS, 0, WHOLE);
  return table;
}

export interface Uses {
  /** Each register once, whether the instruction names it or not. */
  readonly uses: readonly RegisterUse[];
  /** It uses no other registers: vectors, segments, ... */
  readonly isPlain: boolean;
}

/** By iced-x86's OpAccess: none, read, conditional read, write, conditional write, both, read and conditional write. */
const READS = [false, true, true, false, false, true, true, false];
const WRITES = [false, false, false, true, false, true, false, false];
const CONDITIONAL_WRITE = 4;

/**
 * @param ignored a register whose value makes no difference although it is read.
 * @param alwaysWrites take conditional writes for writes.
 */
export function usesOf(
  raw: Instruction,
  factory: InstructionInfoFactory,
  ignored: Gpr,
  alwaysWrites: boolean,
): Uses {
  const uses: RegisterUse[] = [];
  let isPlain = true;
  const info = factory.info(raw);
  for (const used of info.usedRegisters()) {
    const { register, parts } = slotOf(used.register);
    const access = used.access;
    used.free();
    if (register === NONE) {
      isPlain = false;
      continue;
    }
    const reads = READS[access] && register !== ignored ? parts : 0;
    const writes = WRITES[access] || (alwaysWrites && access === CONDITIONAL_WRITE) ? parts : 0;
    const known = uses.findIndex((use) => use.register === register);
    const before = uses[known];
    if (before === undefined) uses.push({ register, reads, writes });
    else uses[known] = { register, reads: before.reads | reads, writes: before.writes | writes };
  }
  info.free();
  return { uses, isPlain };
}
