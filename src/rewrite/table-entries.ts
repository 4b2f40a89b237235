/**
 * The entries of a jump table: where each leads, and how many there are.
 *
 * Problem: nothing in the file says where a table ends, and a copy that is too short sends the program astray.
 * Method: entries are taken as long as they may be true ones. An entry that leads out of executable segments or
 * into the middle of one of the unit's instructions is none, so the table ends before it. Entries that lead to code
 * elsewhere may be true (a `.cold` part that nothing else shows to belong to the unit), so they are taken too:
 * their copies lead to where the originals do. So the copy is at times too long, which costs bytes, and
 * never too short. Only where a comparison bounds the index do entries past it and outside of the unit stay.
 */
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { PF_W, PF_X } from '../elf/spec.ts';
import type { TableCode } from './table-code.ts';

export type TableKind = 'relative' | 'absolute';

/** A table in read-only memory. */
export class TableEntries {
  readonly #image: ElfImage;
  readonly #at: number;
  readonly #size: number;
  readonly #kind: TableKind;

  constructor(image: ElfImage, at: number, kind: TableKind) {
    this.#image = image;
    this.#at = at;
    this.#kind = kind;
    const segment = image.segmentOf(rva(at));
    const isConstant = segment !== undefined && (segment.flags & PF_W) === 0;
    this.#size = isConstant ? segment.rva + segment.fileSize - at : 0;
  }

  /** Where an entry leads; undefined past the segment's end and where that is no address. */
  target(index: number): number | undefined {
    const stride = this.#kind === 'relative' ? 4 : 8;
    const offset = this.#size >= (index + 1) * stride ? this.#image.offsetOf(rva(this.#at)) : undefined;
    if (offset === undefined) return undefined;
    const { bytes } = this.#image;
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset + index * stride, stride);
    const low = view.getInt32(0, true);
    if (this.#kind === 'relative') return this.#at + low < 0 ? undefined : this.#at + low;
    return view.getUint32(4, true) === 0 ? low >>> 0 : undefined;
  }
}

/** Where the entries lead that may be true ones, at most so many. Empty: no table of this unit. */
export function readTargets(
  code: TableCode,
  at: number,
  kind: TableKind,
  most = Number.POSITIVE_INFINITY,
): number[] {
  return isTableOf(code, at, kind) ? [...possibleTargets(code, at, kind, most)] : [];
}

/** Whether one of the first entries leads to the unit; some may lead to unlikely code that has no other link to it. */
export function isTableOf(code: TableCode, at: number, kind: TableKind): boolean {
  for (const target of possibleTargets(code, at, kind, FIRST_ENTRIES)) {
    if (code.inside(target)) return true;
  }
  return false;
}

const FIRST_ENTRIES = 32;

function* possibleTargets(code: TableCode, at: number, kind: TableKind, most: number): Generator<number> {
  const entries = new TableEntries(code.image, at, kind);
  for (let index = 0; index < most; index++) {
    const target = entries.target(index);
    if (target === undefined || !isCode(code.image, target) || !code.mayBegin(target)) return;
    yield target;
  }
}

function isCode(image: ElfImage, at: number): boolean {
  const segment = image.segmentOf(rva(at));
  return segment !== undefined && (segment.flags & PF_X) !== 0 && image.offsetOf(rva(at)) !== undefined;
}
