/**
 * x86-64 code, instruction by instruction: where control goes and which fields hold distances.
 *
 * Problem: tens of millions of instructions are decoded for one program, and only some have a branch or
 * a rip-relative operand.
 * Example: `cmpl $7, 0x1234(%rip)` at 0x1000 is 83 3d 34 12 00 00 07: length 7, ipTarget 0x223b, fieldAt
 * 0x1002. The immediate stands behind the field, so the field is not at the end.
 * Method: iced-x86 decodes and classifies, once for all instructions that begin alike (`shapes.ts`); what can be read
 * from the bytes is read from them. The opcode of a branch tells the size of its field, and the field its target.
 * Limits: branches with a 16-bit operand size (Intel's processors ignore the prefix, AMD's cut the
 * target) and eip-relative operands (their sum wraps at 4 GiB) are refused, like code that does not decode.
 */
import type { Decoder, Instruction } from 'iced-x86';
import { iced } from './iced.ts';
import { ADDRESS_SIZE, isPrefix, isRex, OPERAND_SIZE } from './prefixes.ts';
import { NO_SHAPE, remember, type Shape, shapeAt } from './shapes.ts';

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

/** What a visitor returns that wants to see no more. */
export const ENOUGH: unique symbol = Symbol('enough');

/**
 * Decodes all of `bytes`, which are loaded at RVA `at`, and shows each instruction to `visit`: always the
 * same object, filled anew. False where something does not decode, is refused (see above) or runs over the
 * end; `visit` has then seen what comes before it.
 */
export function decodeRange(bytes: Uint8Array, at: number, visit: (insn: Insn) => unknown): boolean {
  const insn = emptyInsn();
  const end = bytes.length;
  let decoder: Decoder | undefined;
  try {
    for (let start = 0; start < end; start += insn.length) {
      const shape = shapeAt(bytes, start);
      if (shape !== NO_SHAPE) {
        if (!fillIn(shape, bytes, start, at, insn)) return false;
      } else {
        decoder ??= newDecoder(bytes);
        if (!decodeAt(decoder, bytes, start, at, insn)) return false;
      }
      if (visit(insn) === ENOUGH) return true;
    }
    return true;
  } finally {
    decoder?.free();
  }
}

function newDecoder(bytes: Uint8Array): Decoder {
  const { Decoder, DecoderOptions } = iced();
  // Its ip stays 0: addresses come from the fields, without bigints.
  return new Decoder(64, bytes, DecoderOptions.None);
}

/** Reused: nothing is asked of it once the instruction is filled in. */
let instruction: Instruction | undefined;

function decodeAt(decoder: Decoder, bytes: Uint8Array, start: number, at: number, insn: Insn): boolean {
  instruction ??= new (iced().Instruction)();
  decoder.position = start;
  decoder.decodeOut(instruction);
  if (!readInsn(decoder, instruction, bytes, start, at, insn)) return false;
  remember(bytes, start, shapeOf(insn));
  return true;
}

/** In the order of their numbers in shapes. */
const FLOWS: readonly Flow[] = [
  'next',
  'jump',
  'conditional',
  'call',
  'indirect-jump',
  'indirect-call',
  'return',
  'stop',
];

/** Bits: length 0-3, flow 4-6, bytes of a branch's displacement 7-9, where the field begins 10-13 (0: none). */
function shapeOf({ at, length, flow, branchSize, fieldAt }: Insn): Shape {
  const field = fieldAt < 0 ? 0 : fieldAt - at;
  return length | (FLOWS.indexOf(flow) << 4) | (branchSize << 7) | (field << 10);
}

/** Fills in an instruction of a known shape. False where the bytes end before it does. */
function fillIn(shape: Shape, bytes: Uint8Array, start: number, at: number, insn: Insn): boolean {
  const length = shape & 15;
  const next = start + length;
  if (next > bytes.length) return false;
  insn.at = at + start;
  insn.length = length;
  insn.flow = FLOWS[(shape >>> 4) & 7] ?? 'next';
  insn.target = -1;
  insn.branchSize = 0;
  insn.ipTarget = -1;
  insn.fieldAt = -1;
  const field = shape >>> 10;
  const isShort = (shape & SHORT_BRANCH) !== 0;
  if (field === 0 && !isShort) return true;
  const address = at + next + (isShort ? int8(bytes, next - 1) : int32(bytes, start + field));
  const known = address < 0 ? -1 : address;
  if (!isShort) insn.fieldAt = at + start + field;
  if ((shape & ANY_BRANCH) === 0) insn.ipTarget = known;
  else {
    insn.branchSize = isShort ? 1 : 4;
    insn.target = known;
  }
  return true;
}

const SHORT_BRANCH = 1 << 7;
const ANY_BRANCH = 7 << 7;

// iced-x86's FlowControl.
const NEXT = 0;
const INDIRECT_JUMP = 2;
const RETURN = 4;
const INDIRECT_CALL = 6;
const INTERRUPT = 7;
const INVALID = 9;

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
  const distance = isShort ? int8(bytes, field) : int32(bytes, field);
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

const int8 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 24) >> 24;

const int32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) |
  ((bytes[at + 1] ?? 0) << 8) |
  ((bytes[at + 2] ?? 0) << 16) |
  ((bytes[at + 3] ?? 0) << 24);
