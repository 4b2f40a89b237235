/** The pc-relative fields of units' code: what has to be encoded anew in a copy. */
import type { ElfImage } from '../elf/image.ts';
import { decodeRange } from '../x86/decode.ts';
import type { CloneMap, Unit } from './model.ts';

export const FIELD_BRANCH = 0;
/** A branch that is no call: the unit may be one with where it leads to. */
export const FIELD_JUMP = 1;
export const FIELD_ADDRESS = 2;

const OWN_ADDRESS = 'it takes the address of its own code';

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

/**
 * Adds the fields of one unit. Returns why its code cannot be copied, or undefined; then rows may have been
 * added all the same.
 */
export function readCodeFields(
  image: ElfImage,
  unit: Unit,
  canonical: CloneMap['canonical'],
  into: CodeFields,
): string | undefined {
  const offset = image.offsetOf(unit.start);
  if (offset === undefined) return 'its code is not in the file';
  const code = image.bytes.subarray(offset, offset + (unit.end - unit.start));
  let refused: string | undefined;
  const decoded = decodeRange(code, unit.start, (insn) => {
    const next = insn.at + insn.length;
    if (insn.branchSize === 1 && (insn.target < unit.start || insn.target >= unit.end)) {
      refused = 'a short branch leaves it';
    }
    // `call next; pop %rbx` takes its own address, to count from it to something that does not move. At the
    // unit's end it is a plain call of the next function.
    if (insn.flow === 'call' && insn.target === next && next < unit.end) refused = OWN_ADDRESS;
    if (insn.fieldAt < 0) return;
    const isBranch = insn.branchSize === 4;
    // So does `lea .(%rip), %rbx`, the way of the large code model, where addresses are the copy's.
    if (!isBranch && canonical === 'copy' && (insn.ipTarget === insn.at || insn.ipTarget === next)) {
      refused = OWN_ADDRESS;
    }
    const kind = !isBranch ? FIELD_ADDRESS : insn.flow === 'call' ? FIELD_BRANCH : FIELD_JUMP;
    into.push(insn.fieldAt, next - insn.fieldAt, kind);
  });
  if (!decoded) return 'its code does not decode';
  return refused;
}
