/** The pc-relative fields of units' code: what has to be encoded anew in a copy. */
import { rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import { decodeRange } from '../x86/decode.ts';
import type { CloneMap, Unit } from './model.ts';
import { OWN_ADDRESS } from './sweep.ts';

export const FIELD_BRANCH = 0;
export const FIELD_ADDRESS = 1;

/** Rows in the order of the code. Columns grow. */
export class CodeFields {
  /** RVA of the 4 bytes. */
  field = new Uint32Array(4096);
  /** Bytes from there to the instruction's end. */
  tail = new Uint8Array(4096);
  kind = new Uint8Array(4096);
  length = 0;

  push(field: number, tail: number, kind: number): void {
    if (this.length === this.field.length) this.#grow();
    this.field[this.length] = field;
    this.tail[this.length] = tail;
    this.kind[this.length] = kind;
    this.length++;
  }

  #grow(): void {
    const size = this.length * 2;
    const field = new Uint32Array(size);
    const tail = new Uint8Array(size);
    const kind = new Uint8Array(size);
    field.set(this.field);
    tail.set(this.tail);
    kind.set(this.kind);
    this.field = field;
    this.tail = tail;
    this.kind = kind;
  }
}

export interface UnitCode {
  /** Why it cannot be copied. */
  readonly refused: string | undefined;
  /** What its copy must have in common with it: the address modulo this. At least LEAST_PHASE, but for parts. */
  readonly phase: number;
}

/** Compilers align functions, and with little padding loops, to that. */
export const LEAST_PHASE = 16;
const MOST_PHASE = 64;

/**
 * Adds the fields of one unit. Where it is refused, rows may have been added all the same.
 *
 * Where a loop begins at a multiple of 32 or 64, someone may have meant it: code that is written by hand aligns
 * its loops to what the processor decodes at once. Copying all units of ten large libraries, this takes 6 pages
 * of 1000; keeping every start's alignment up to 64 would take 19.
 *
 * Code of the large model finds its data by its own address: `lea f(%rip), %rbx; movabs $GOT - f, %r11;
 * add %r11, %rbx`, with f the function itself. A copy's address would lead elsewhere. In ET_EXEC such a `lea`
 * keeps the original's.
 */
export function readCodeFields(
  image: ElfImage,
  unit: Unit,
  canonical: CloneMap['canonical'],
  into: CodeFields,
): UnitCode {
  const offset = image.offsetOf(unit.start);
  if (offset === undefined) return { refused: 'its code is not in the file', phase: LEAST_PHASE };
  const code = image.bytes.subarray(offset, offset + (unit.end - unit.start));
  const view = viewOf(code);
  const isOwn = (at: number): boolean => at >= unit.start && at < unit.end;
  const ownAddresses: number[] = [];
  const distances: number[] = [];
  let refused: string | undefined;
  // The start of a part is no function's, and nothing tells of its alignment but its loops.
  let phase = unit.kind === 'part' ? 1 : LEAST_PHASE;
  const decoded = decodeRange(code, unit.start, (insn) => {
    const next = insn.at + insn.length;
    if (insn.branchSize === 1 && !isOwn(insn.target)) refused = 'a short branch leaves it';
    // `call next; pop %rbx` takes its own address too. At the unit's end it is a plain call of what follows.
    if (insn.flow === 'call' && insn.target === next && isOwn(next)) refused = OWN_ADDRESS;
    if (insn.target < insn.at && isOwn(insn.target) && insn.flow !== 'call') {
      while (phase < MOST_PHASE && insn.target % (2 * phase) === 0) phase *= 2;
    }
    const inCode = insn.at - unit.start;
    if (insn.length === MOVABS_SIZE && isMovabs(code, inCode)) {
      distances.push(Number(view.getBigInt64(inCode + 2, true)));
    }
    if (insn.fieldAt < 0) return;
    const isBranch = insn.branchSize === 4;
    if (!isBranch && isOwn(insn.ipTarget)) ownAddresses.push(insn.ipTarget);
    into.push(insn.fieldAt, next - insn.fieldAt, isBranch ? FIELD_BRANCH : FIELD_ADDRESS);
  });
  // Any 64-bit constant may stand there: most are no distances, and many no numbers that an RVA can be.
  const leadsToData = (at: number): boolean =>
    at >= 0 && Number.isSafeInteger(at) && image.segmentOf(rva(at)) !== undefined;
  const computes = ownAddresses.some((at) => distances.some((distance) => leadsToData(at + distance)));
  if (!decoded) refused = 'its code does not decode';
  else if (computes && canonical === 'copy') refused ??= OWN_ADDRESS;
  return { refused, phase };
}

/** `movabs imm64, %r` with its prefix and opcode. */
const MOVABS_SIZE = 10;
const isMovabs = (code: Uint8Array, at: number): boolean =>
  ((code[at] ?? 0) & 0xf8) === 0x48 && ((code[at + 1] ?? 0) & 0xf8) === 0xb8;
