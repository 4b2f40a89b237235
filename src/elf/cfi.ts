/**
 * Call frame instructions: how the caller's registers are found, for each place of a function.
 *
 * Problem: a copy of a part of an FDE's code (one stub of a PLT, whose stubs share an FDE) needs the rows of just
 * that part.
 * Example: a PLT's FDE says: the CFA is rsp+16; 6 bytes on rsp+24; 10 bytes on rsp+8+((rip&15)>=11)*8.
 * Method: a row is what all instructions before it have made. So a slice is the same instructions without the
 * advances up to its start, ending where it ends. Nothing is interpreted.
 * Limits: DW_CFA_set_loc (an address within a program; compilers for x86-64 do not make it) is not decoded.
 */
import { viewOf } from './bytes.ts';

const DW_CFA_nop = 0x00;
const DW_CFA_advance_loc1 = 0x02;
const DW_CFA_advance_loc2 = 0x03;
const DW_CFA_advance_loc4 = 0x04;
/** The upper two bits of an opcode; the lower six are an operand. */
const DW_CFA_advance_loc = 0x40;
const DW_CFA_offset = 0x80;

/** Operands by opcode: u a LEB128 number, e a block with an expression; advances apart. */
const OPERANDS: readonly (string | undefined)[] = [
  '', // nop
  undefined, // set_loc
  undefined, // advance_loc1
  undefined, // advance_loc2
  undefined, // advance_loc4
  'uu', // offset_extended
  'u', // restore_extended
  'u', // undefined
  'u', // same_value
  'uu', // register
  '', // remember_state
  '', // restore_state
  'uu', // def_cfa
  'u', // def_cfa_register
  'u', // def_cfa_offset
  'e', // def_cfa_expression
  'ue', // expression
  'uu', // offset_extended_sf
  'uu', // def_cfa_sf
  'u', // def_cfa_offset_sf
  'uu', // val_offset
  'uu', // val_offset_sf
  'ue', // val_expression
];
const DW_CFA_GNU_window_save = 0x2d;
const DW_CFA_GNU_args_size = 0x2e;
const DW_CFA_GNU_negative_offset_extended = 0x2f;

const operandsOf = (opcode: number): string | undefined => {
  if (opcode >= DW_CFA_advance_loc) return (opcode & 0xc0) === DW_CFA_offset ? 'u' : '';
  if (opcode === DW_CFA_GNU_window_save) return '';
  if (opcode === DW_CFA_GNU_args_size) return 'u';
  if (opcode === DW_CFA_GNU_negative_offset_extended) return 'uu';
  return OPERANDS[opcode];
};

export interface CfiInstruction {
  /** Where it stands in the program. */
  readonly at: number;
  /** Exclusive. */
  readonly end: number;
  readonly isNop: boolean;
  /** Code units (times the CIE's `codeAlign`: bytes) that it goes on; 0 for what is no advance. */
  readonly advance: number;
  /** Where the bytes of its expression begin, up to `end`; -1 without. */
  readonly expressionAt: number;
}

/**
 * Calls `visit` for each instruction, with one object that is used again.
 *
 * @returns false where an instruction is not known or goes past the end.
 */
export function decodeCfi(program: Uint8Array, visit: (instruction: CfiInstruction) => void): boolean {
  const decoded = { at: 0, end: 0, isNop: false, advance: 0, expressionAt: -1 };
  const view = viewOf(program);
  let at = 0;
  const number = (): number => {
    let value = 0;
    let shift = 0;
    for (;;) {
      const byte = program[at++];
      if (byte === undefined) return 0;
      // Only lengths of blocks are looked at: those beyond 28 bits do not fit anyway.
      if (shift < 28) value += (byte & 0x7f) * 2 ** shift;
      else if ((byte & 0x7f) !== 0) value = 2 ** 40;
      shift += 7;
      if (byte < 0x80) return value;
    }
  };
  while (at < program.length) {
    const opcode = program[at] ?? 0;
    decoded.at = at++;
    decoded.isNop = opcode === DW_CFA_nop;
    decoded.advance = 0;
    decoded.expressionAt = -1;
    const wide = opcode >= DW_CFA_advance_loc1 && opcode <= DW_CFA_advance_loc4 ? 1 << (opcode - 2) : 0;
    if (wide > program.length - at) return false;
    if (wide > 0) {
      decoded.advance =
        wide === 1 ? view.getUint8(at) : wide === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
      at += wide;
    } else if ((opcode & 0xc0) === DW_CFA_advance_loc) {
      decoded.advance = opcode & 0x3f;
    } else {
      const operands = operandsOf(opcode);
      if (operands === undefined) return false;
      for (let i = 0; i < operands.length; i++) {
        const value = number();
        if (operands[i] !== 'e') continue;
        decoded.expressionAt = at;
        at += value;
      }
    }
    if (at > program.length) return false;
    decoded.end = at;
    visit(decoded);
  }
  // A number without its last byte ends one past the program.
  return at === program.length;
}

/**
 * The instructions for the code from `from` to `to`, both bytes from the function's start, as a program of a
 * function that starts at `from`. Without no-operations.
 *
 * @returns undefined where an instruction is not known.
 */
export function sliceCfi(
  program: Uint8Array,
  codeAlign: number,
  from: number,
  to: number,
): Uint8Array | undefined {
  const slice: number[] = [];
  let place = 0;
  let written = from;
  let aligned = true;
  const known = decodeCfi(program, ({ at, end, isNop, advance }) => {
    place += advance * codeAlign;
    if (isNop || place >= to || (advance > 0 && place <= from)) return;
    if (advance === 0) {
      if (place > written) {
        // One advance where there were several: no instruction stood between them.
        const units = (place - written) / codeAlign;
        aligned &&= Number.isInteger(units);
        pushAdvance(slice, units);
        written = place;
      }
      for (let i = at; i < end; i++) slice.push(program[i] ?? 0);
    }
  });
  return known && aligned ? Uint8Array.from(slice) : undefined;
}

function pushAdvance(program: number[], units: number): void {
  if (units < 0x40) program.push(DW_CFA_advance_loc | units);
  else if (units < 0x100) program.push(DW_CFA_advance_loc1, units);
  else if (units < 0x10000) program.push(DW_CFA_advance_loc2, units & 0xff, units >>> 8);
  else
    program.push(
      DW_CFA_advance_loc4,
      units & 0xff,
      (units >>> 8) & 0xff,
      (units >>> 16) & 0xff,
      units >>> 24,
    );
}
