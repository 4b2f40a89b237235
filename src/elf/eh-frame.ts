/**
 * .eh_frame: which code has a frame description entry (FDE), what it says, and where its fields stand.
 *
 * Problem: FDEs are the only description of functions that every module carries, stripped or not: they
 * bound functions, and the unwinder finds landing pads by them.
 * Example: `00000014 00000000 "zR" ...` is a CIE; `00000024 0000001c fffff4a0 00000026 ...`, an FDE,
 * goes 0x1c back to it and describes 0x26 bytes of code, 0xb60 before the third field.
 * Method: PT_GNU_EH_FRAME leads to the first record, so section headers are not needed. Records follow each other; a
 * zero length ends a piece. Where the section or a later row of the header's table says so, another piece follows
 * (crtend.o's zero may come in the middle). Every field's RVA is kept, as rewriting must write it anew.
 * Limits: object files have no addresses and so no records here. Version 1 and 3 CIEs only, as in unwinders.
 * Pointers that relocations other than RELATIVE fill are damage.
 */
import type { Rva } from '../base/brands.ts';
import { type EhFrameHeader, readEhFrameHeader } from './eh-frame-hdr.ts';
import { type Cie, type Fde, isLeftover, Records } from './eh-records.ts';
import { elfError } from './errors.ts';
import type { ElfImage } from './image.ts';
import { fileBytesAt } from './memory.ts';
import * as spec from './spec.ts';

export type { Cie, Fde, PointerField } from './eh-records.ts';
export { isLeftover } from './eh-records.ts';

export interface EhFrame {
  /** The first record; undefined where the module has no .eh_frame. */
  readonly at: Rva | undefined;
  /** Everything that was read: all pieces with their zeros, from `at`. */
  readonly bytes: Uint8Array;
  /** In the file's order. */
  readonly cies: readonly Cie[];
  /** In the file's order; those of nothing (`isLeftover`) too. */
  readonly fdes: readonly Fde[];
  /** Undefined where PT_GNU_EH_FRAME is missing or damaged. */
  readonly header: EhFrameHeader | undefined;
  /** Why there is no header, or no table in it, or what in it contradicts the records. */
  readonly headerProblem: string | undefined;
}

/** The call frame instructions of a record. */
export const cfiOf = (frame: EhFrame, record: Cie | Fde): Uint8Array => {
  const from = record.programAt - (frame.at ?? 0);
  return frame.bytes.subarray(from, from + record.programSize);
};

/** @throws E_ELF_EH_FRAME where records are damaged; what the image's relocations throw, if they are needed. */
export function readEhFrame(image: ElfImage): EhFrame {
  const header = image.header.type === spec.ET_REL ? undefined : readEhFrameHeader(image);
  const found = typeof header === 'string' ? undefined : header;
  const section = image.sections.find(
    ({ name, type, flags }) =>
      name === '.eh_frame' && type !== spec.SHT_NOBITS && (flags & spec.SHF_ALLOC) !== 0,
  );
  const start: Rva | undefined = found?.frame ?? section?.rva;
  if (image.header.type === spec.ET_REL || start === undefined || start === 0) {
    if (typeof header === 'string') throw damage(image, 'PT_GNU_EH_FRAME', header);
    return {
      at: undefined,
      bytes: new Uint8Array(),
      cies: [],
      fdes: [],
      header: undefined,
      headerProblem: undefined,
    };
  }
  const rows = found?.table?.fdes.length;
  const isEmpty = section?.rva === start ? section.size === 0 && (rows ?? 0) === 0 : rows === 0;
  // An empty one may be last in its segment, where nothing follows that it could have as its bytes.
  const view = fileBytesAt(image, start) ?? (isEmpty ? NO_BYTES : undefined);
  if (view === undefined)
    throw damage(image, '.eh_frame', `0x${start.toString(16)} has no bytes in the file`);
  // A section of that name elsewhere says nothing about the records that the unwinder reads.
  const size = section?.rva === start ? Math.min(section.size, view.byteLength) : undefined;
  const last = found?.table?.fdes.reduce((most, at) => Math.max(most, at), 0) ?? 0;
  const records = new Records(image, view, start);
  const end = records.readAll(size, last);
  const { cies, fdes } = records;
  const bytes = new Uint8Array(view.buffer, view.byteOffset, end);
  const frame = { at: start, bytes, cies, fdes, header: found };
  return { ...frame, headerProblem: typeof header === 'string' ? header : problemOf(found, fdes) };
}

const NO_BYTES = new DataView(new ArrayBuffer(0));

function problemOf(header: EhFrameHeader | undefined, fdes: readonly Fde[]): string | undefined {
  if (header === undefined) return 'there is no PT_GNU_EH_FRAME';
  const { table } = header;
  if (table === undefined) return 'it has no table that can be searched';
  const starts = new Map<number, number>();
  for (const { at, start } of fdes) starts.set(at, start);
  let before = -1;
  for (const [row, start] of table.starts.entries()) {
    if (start < before) return `row ${row} of its table is not in order`;
    before = start;
    if (starts.get(table.fdes[row] ?? 0) !== start)
      return `row ${row} of its table leads to no FDE of that address`;
    starts.delete(table.fdes[row] ?? 0);
  }
  const missed = fdes.find((fde) => !isLeftover(fde) && starts.has(fde.at));
  return missed === undefined ? undefined : `its table misses the FDE at 0x${missed.at.toString(16)}`;
}

const damage = (image: ElfImage, part: string, what: string): Error =>
  elfError('E_ELF_EH_FRAME', { path: image.path, part, what });
