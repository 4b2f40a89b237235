/**
 * Expressions of call frame instructions, as far as they ask for the instruction pointer: a copy of their code stands
 * elsewhere.
 *
 * Example: a PLT's CFA is `breg7 8; breg16 0; lit15; and; lit11; ge; lit3; shl; plus`: one word more in the last
 * five bytes of each stub of 16. In a copy that stands 4 bytes further modulo 16 it has to say `breg16 12`.
 */
const DW_OP_addr = 0x03;
const DW_OP_and = 0x1a;
const DW_OP_lit15 = 0x3f;
const DW_OP_breg0 = 0x70;
const DW_OP_breg16 = 0x80;
const DW_OP_breg31 = 0x8f;
const DW_OP_bregx = 0x92;
/** The last one that expressions of call frames may have. */
const DW_OP_nop = 0x96;

/** Bytes of operands, and LEB128 numbers, of the operations that have some. DW_OP_bregx is refused before. */
const BYTES = new Map([
  [DW_OP_addr, 8],
  ...([0x08, 0x09, 0x15, 0x94, 0x95] as const).map((op) => [op, 1] as const),
  ...([0x0a, 0x0b, 0x28, 0x2f] as const).map((op) => [op, 2] as const),
  ...([0x0c, 0x0d] as const).map((op) => [op, 4] as const),
  ...([0x0e, 0x0f] as const).map((op) => [op, 8] as const),
]);
const NUMBERS = new Map([0x10, 0x11, 0x23, 0x90, 0x91, 0x93].map((op) => [op, 1]));

/**
 * Where the expression takes the lowest four bits of the instruction pointer plus a number: offsets of these numbers,
 * of one byte each.
 *
 * @returns undefined where the instruction pointer serves for something else, or might.
 */
export function phasesIn(expression: Uint8Array): readonly number[] | undefined {
  // Most expressions are of registers alone and have neither byte.
  if (!expression.includes(DW_OP_breg16) && !expression.includes(DW_OP_bregx)) return [];
  const found: number[] = [];
  let at = 0;
  while (at < expression.length) {
    const op = expression[at++] ?? 0;
    if (op === 0 || op > DW_OP_nop || op === DW_OP_bregx) return undefined;
    if (op === DW_OP_breg16) {
      const masked = expression[at + 1] === DW_OP_lit15 && expression[at + 2] === DW_OP_and;
      if (!masked || (expression[at] ?? 0x80) >= 0x80) return undefined;
      found.push(at);
    }
    let numbers = op >= DW_OP_breg0 && op <= DW_OP_breg31 ? 1 : (NUMBERS.get(op) ?? 0);
    for (; numbers > 0; numbers--) {
      while ((expression[at] ?? 0) >= 0x80) at++;
      at++;
    }
    at += BYTES.get(op) ?? 0;
  }
  return found;
}
