/**
 * Lets the last page of data come from the file whole.
 *
 * Problem: where .data ends and .bss begins within a page, the loader clears the rest of the page at each start, also
 * where nothing else is written to it: a private page for nearly every library.
 * Example: libz's data end at 0x1e188; the file has 0xe78 zeros behind it then, and p_filesz says so.
 * Method: zeros are put into the file behind the last segment, so many as .bss has and up to a whole page; the segment takes
 * what the page has room for, and what follows (sections that are not loaded, section headers) goes up. eu-elflint
 * wants zeros for all of a .bss that begins within its segment's part of the file.
 * Limits: a file with something loaded behind its data stays as it is, and so does one with a .bss above 1 MiB.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { viewOf } from '../../elf/bytes.ts';
import { readElf } from '../../elf/read.ts';
import * as spec from '../../elf/spec.ts';

const MOST_ZEROS = 1 << 20;

/** @returns the file, which may be longer. */
export function padData(bytes: Uint8Array, path: string): Uint8Array {
  const image = readElf(bytes, path);
  const loads = image.segments.filter(({ type }) => type === spec.PT_LOAD);
  const data = loads.findLast(({ memSize, fileSize }) => memSize > fileSize && fileSize > 0);
  if (data === undefined) return bytes;
  const end = data.offset + data.fileSize;
  const missing = (PAGE_SIZE - ((data.rva + data.fileSize) % PAGE_SIZE)) % PAGE_SIZE;
  const zeros = data.memSize - data.fileSize;
  const added = Math.min(missing, zeros);
  const isLast = image.segments.every(
    ({ index, offset, fileSize }) => index === data.index || offset + fileSize <= end,
  );
  if (added === 0 || zeros > MOST_ZEROS || !isLast || image.header.segmentsAt >= end) return bytes;

  const room = Math.ceil(zeros / PAGE_SIZE) * PAGE_SIZE;
  const padded = new Uint8Array(bytes.length + room);
  padded.set(bytes.subarray(0, end), 0);
  padded.set(bytes.subarray(end), end + room);
  const view = viewOf(padded);
  const add = (at: number, value: number): void =>
    view.setBigUint64(at, view.getBigUint64(at, true) + BigInt(value), true);
  add(image.header.segmentsAt + data.index * spec.PHDR_SIZE + 32, added);
  const { sectionsAt, sectionCount } = image.header;
  if (sectionCount === 0) return padded;
  if (sectionsAt < end) return bytes;
  add(40, room);
  for (const { index, offset, flags } of image.sections) {
    if (offset < end || index === 0) continue;
    // .bss goes on beginning there.
    if ((flags & spec.SHF_ALLOC) === 0) add(sectionsAt + room + index * spec.SHDR_SIZE + 24, room);
  }
  return padded;
}
