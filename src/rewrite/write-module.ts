/** The program headers and the ELF header of the new file. */
import { type Rva, rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import type { Room } from './lay-out.ts';
import type { RewriteOptions } from './model.ts';

/** Added bytes that are loaded. */
export interface Span {
  readonly at: Rva;
  readonly size: number;
}

export interface AddedSegment extends Span {
  readonly flags: number;
}

const SEGMENT_ALIGN = 4096;

/** Bytes of the table with so many more headers. */
export const programHeadersSize = (image: ElfImage, added: number): number =>
  (image.header.segmentCount + added) * spec.PHDR_SIZE;

export interface HeadersInput {
  readonly image: ElfImage;
  /** Ascending, above all others. */
  readonly segments: readonly AddedSegment[];
  /** Where the table itself stands. */
  readonly table: Span;
  /** Where PT_GNU_EH_FRAME leads to; undefined: to where it did. Programs linked statically may have none before. */
  readonly unwind: Span | undefined;
  readonly cold: RewriteOptions['cold'];
  readonly room: Room;
}

/** The new table. PT_LOADs ascend, so the added ones stand right behind the last of the old. */
export function programHeaders(input: HeadersInput): Uint8Array {
  const { image, segments } = input;
  const { segmentsAt, segmentCount } = image.header;
  const rowOf = (index: number): Uint8Array => {
    const at = segmentsAt + index * spec.PHDR_SIZE;
    return Uint8Array.prototype.slice.call(image.bytes, at, at + spec.PHDR_SIZE);
  };
  const rows = Array.from({ length: segmentCount }, (_, index) => rowOf(index));
  for (const { index, type, flags } of image.segments) {
    const row = rows[index];
    if (row === undefined) continue;
    if (type === spec.PT_PHDR) place(row, input, input.table);
    if (type === spec.PT_GNU_EH_FRAME && input.unwind !== undefined) place(row, input, input.unwind);
    if (type === spec.PT_LOAD && input.cold === 'deny') viewOf(row).setUint32(4, flags & ~spec.PF_X, true);
  }
  const lastLoad = image.segments.findLastIndex(({ type }) => type === spec.PT_LOAD);
  const added = segments.map((segment) => newRow(spec.PT_LOAD, input, segment, SEGMENT_ALIGN));
  rows.splice(lastLoad + 1, 0, ...added);
  if (input.unwind !== undefined && !hasUnwindHeader(image)) {
    rows.push(newRow(spec.PT_GNU_EH_FRAME, input, { ...input.unwind, flags: spec.PF_R }, 4));
  }
  return Buffer.concat(rows);
}

export const hasUnwindHeader = (image: ElfImage): boolean =>
  image.segments.some(({ type }) => type === spec.PT_GNU_EH_FRAME);

function newRow(type: number, input: HeadersInput, segment: AddedSegment, align: number): Uint8Array {
  const row = new Uint8Array(spec.PHDR_SIZE);
  const view = viewOf(row);
  view.setUint32(0, type, true);
  view.setUint32(4, segment.flags, true);
  place(row, input, segment);
  view.setBigUint64(48, BigInt(align), true);
  return row;
}

function place(row: Uint8Array, { room }: HeadersInput, { at, size }: Span): void {
  const view = viewOf(row);
  view.setBigUint64(8, BigInt(offsetIn(room, at)), true);
  view.setBigUint64(16, BigInt(at), true);
  view.setBigUint64(24, BigInt(at), true);
  view.setBigUint64(32, BigInt(size), true);
  view.setBigUint64(40, BigInt(size), true);
}

/** Where an added byte stands in the file. */
export const offsetIn = (room: Room, at: Rva): number => room.offset + (at - room.at);

/** Completes the ELF header: where the tables stand, and how many rows they have. */
export function writeElfHeader(
  bytes: Uint8Array,
  segments: { readonly at: number; readonly count: number },
  sections: { readonly at: number; readonly count: number } | undefined,
): void {
  const view = viewOf(bytes);
  view.setBigUint64(32, BigInt(segments.at), true);
  view.setUint16(56, segments.count, true);
  if (sections === undefined) return;
  view.setBigUint64(40, BigInt(sections.at), true);
  view.setUint16(60, sections.count, true);
}

/** Where one thing after the other comes to lie. */
export class Cursor {
  #next: number;

  constructor(at: Rva) {
    this.#next = at;
  }

  take(size: number, align: number): Span {
    const at = Math.ceil(this.#next / align) * align;
    this.#next = at + size;
    return { at: rva(at), size };
  }

  get next(): Rva {
    return rva(this.#next);
  }
}
