/**
 * x86-64 code, instruction by instruction: where control goes and which fields hold distances.
 *
 * Problem: tens of millions of instructions are decoded for one program, and only some have a branch or
 * a rip-relative operand.
 * Example: `cmpl $7, 0x1234(%rip)` at 0x1000 is 83 3d 34 12 00 00 07: length 7, ipTarget 0x223b, fieldAt
 * 0x1002. The immediate stands behind the field, so the field is not at the end.
 * Method: iced-x86 decodes and classifies; what can be read from the bytes is read from them, as each
 * question to WebAssembly costs as much as decoding. The opcode of a branch tells the size of its field,
 * and the field its target.
 * Limits: branches with a 16-bit operand size (Intel's processors ignore the prefix, AMD's cut the
 * target) and eip-relative operands (their sum wraps at 4 GiB) are refused, like code that does not decode.
 */
import type { Decoder, Instruction } from 'iced-x86';
import { iced } from './iced.ts';

/**
 * Where control goes after an instruction. `next` also holds system calls, int3 and other interrupts,
 * after which it continues; `stop` are ud2 and its kin and hlt; `conditional` also holds loop, jrcxz
 * and xbegin. `return` also holds far and interrupt returns.
 */
export type Flow =
  | 'next'
  | 'jump'
  | 'conditional'
  | 'call'
  | 'indirect-jump'
  | 'indirect-call'
  | 'return'
  | 'stop';

/** One instruction. All addresses are RVAs; as plain numbers, for there are millions. */
export interface Insn {
  at: number;
  length: number;
  flow: Flow;
  /** Target of a direct branch or call; -1: none, or below 0. */
  target: number;
  /** Bytes of a direct branch's displacement. */
  branchSize: 0 | 1 | 4;
  /** Address of the rip-relative operand; -1: none, or below 0. */
  ipTarget: number;
  /**
   * Where the 4 bytes stand that are counted from the instruction's end: a branch's displacement or a
   * rip-relative operand's. -1: none. No instruction has both. Set too where the address is below 0.
   */
  fieldAt: number;
}

/**
 * Decodes all of `bytes`, which are loaded at RVA `at`, and shows each instruction to `visit`: always the
 * same object, filled anew. False where something does not decode, is refused (see above) or runs over the
 * end; `visit` has then seen what comes before it.
 */
export function decodeRange(bytes: Uint8Array, at: number, visit: (insn: Insn) => void): boolean {
  if (bytes.length === 0) return true;
  const { Decoder, DecoderOptions, Instruction } = iced();
  instruction ??= new Instruction();
  const decoder = new Decoder(64, bytes, DecoderOptions.None);
  try {
    // Its ip stays 0: addresses come from the fields, without bigints.
    return decodeWith(decoder, instruction, bytes, at, visit);
  } finally {
    decoder.free();
  }
}

/** Reused, and never while `visit` runs, which may decode too. */
let instruction: Instruction | undefined;

// iced-x86's FlowControl.
const NEXT = 0;
const INDIRECT_JUMP = 2;
const RETURN = 4;
const INDIRECT_CALL = 6;
const INTERRUPT = 7;
const INVALID = 9;

function decodeWith(
  decoder: Decoder,
  raw: Instruction,
  bytes: Uint8Array,
  at: number,
  visit: (insn: Insn) => void,
): boolean {
  const insn = emptyInsn();
  for (let start = 0; start < bytes.length; start += insn.length) {
    decoder.decodeOut(raw);
    if (!readInsn(decoder, raw, bytes, start, at, insn)) return false;
    visit(insn);
  }
  return true;
}

export const emptyInsn = (): Insn => ({
  at: 0,
  length: 0,
  flow: 'next',
  target: -1,
  branchSize: 0,
  ipTarget: -1,
  fieldAt: -1,
});

/** For this room: fills in what was just decoded at bytes[start]. False where it is refused. */
export function readInsn(
  decoder: Decoder,
  raw: Instruction,
  bytes: Uint8Array,
  start: number,
  at: number,
  insn: Insn,
): boolean {
  const length = raw.length;
  const flow = raw.flowControl;
  insn.at = at + start;
  insn.length = length;
  insn.flow = 'next';
  insn.target = -1;
  insn.branchSize = 0;
  insn.ipTarget = -1;
  insn.fieldAt = -1;
  if (flow === INVALID && raw.isInvalid) return false;
  if (flow === NEXT || flow === INDIRECT_JUMP || flow === INDIRECT_CALL || flow === INVALID) {
    if (flow === INDIRECT_JUMP) insn.flow = 'indirect-jump';
    else if (flow === INDIRECT_CALL) insn.flow = 'indirect-call';
    else if (flow === INVALID || (length === 1 && bytes[start] === HLT)) insn.flow = 'stop';
    // The shortest instruction with one has an opcode, a ModRM byte and four bytes.
    if (length >= 6 && raw.isIpRelMemoryOperand) {
      if (isAddress32(bytes, start)) return false;
      const field = start + displacementOffset(decoder, raw);
      const target = at + start + length + int32(bytes, field);
      insn.fieldAt = at + field;
      insn.ipTarget = target < 0 ? -1 : target;
    }
  } else if (flow === RETURN) insn.flow = 'return';
  else if (flow !== INTERRUPT) return readBranch(bytes, start, length, insn);
  return true;
}

function displacementOffset(decoder: Decoder, raw: Instruction): number {
  const offsets = decoder.getConstantOffsets(raw);
  const offset = offsets.displacementOffset;
  offsets.free();
  return offset;
}

const HLT = 0xf4;

const OPERAND_SIZE = 0x66;
const ADDRESS_SIZE = 0x67;
/** Legacy prefixes: segments (3e is also notrack), sizes, lock, repne (also bnd), rep. */
const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, OPERAND_SIZE, ADDRESS_SIZE, 0xf0, 0xf2, 0xf3]);
const isPrefix = (byte: number | undefined): boolean => byte !== undefined && PREFIXES.has(byte);
const isRex = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xf0) === 0x40;

/** Has an address-size prefix in front of its opcode. */
function isAddress32(bytes: Uint8Array, start: number): boolean {
  for (let p = start; isPrefix(bytes[p]) || isRex(bytes[p]); p++) if (bytes[p] === ADDRESS_SIZE) return true;
  return false;
}

/** Fills in a direct branch; leaves system calls, xabort and xend, which iced-x86 puts beside them. */
function readBranch(bytes: Uint8Array, start: number, length: number, insn: Insn): boolean {
  let operand16 = false;
  let wide = false;
  let p = start;
  for (; isPrefix(bytes[p]) || isRex(bytes[p]); p++) {
    const byte = bytes[p] ?? 0;
    if (byte === OPERAND_SIZE) operand16 = true;
    // A REX prefix counts only right before the opcode.
    wide = isRex(byte) && (byte & 8) !== 0;
  }
  const opcode = bytes[p] ?? 0;
  const second = bytes[p + 1] ?? 0;
  const flow = branchFlow(opcode, second);
  if (flow === 'next') return true;
  // REX.W outweighs it, as in the padded call of __tls_get_addr.
  if (operand16 && !wide) return false;
  const isShort = opcode === 0xeb || (opcode >= 0x70 && opcode <= 0x7f) || (opcode >= 0xe0 && opcode <= 0xe3);
  const field = start + length - (isShort ? 1 : 4);
  const distance = isShort ? ((bytes[field] ?? 0) << 24) >> 24 : int32(bytes, field);
  const target = insn.at + length + distance;
  insn.flow = flow;
  insn.branchSize = isShort ? 1 : 4;
  insn.target = target < 0 ? -1 : target;
  if (!isShort) insn.fieldAt = insn.at + (field - start);
  return true;
}

function branchFlow(opcode: number, second: number): 'jump' | 'conditional' | 'call' | 'next' {
  if (opcode === 0xe8) return 'call';
  if (opcode === 0xe9 || opcode === 0xeb) return 'jump';
  if (opcode >= 0x70 && opcode <= 0x7f) return 'conditional';
  if (opcode >= 0xe0 && opcode <= 0xe3) return 'conditional';
  if (opcode === 0x0f && second >= 0x80 && second <= 0x8f) return 'conditional';
  return opcode === 0xc7 ? 'conditional' : 'next';
}

const int32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) |
  ((bytes[at + 1] ?? 0) << 8) |
  ((bytes[at + 2] ?? 0) << 16) |
  ((bytes[at + 3] ?? 0) << 24);
