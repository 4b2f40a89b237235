/**
 * Lets the last page of data come from the file whole.
 *
 * Problem: where .data ends and .bss begins within a page, the loader clears the rest of the page at each start, also
 * where nothing else is written to it: a private page for nearly every library.
 * Example: libz's data end at 0x1e188; the file has 0xe78 zeros behind it then, and p_filesz says so.
 * Method: zeros are put into the file behind the last segment, so much that what follows (sections that are not
 * loaded, section headers) goes up by whole pages, and the segment takes as many of them as the page, or .bss, has.
 * Limits: a file with something loaded behind its data stays as it is.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { viewOf } from '../../elf/bytes.ts';
import { readElf } from '../../elf/read.ts';
import * as spec from '../../elf/spec.ts';

/** @returns the file, which may be longer. */
export function padData(bytes: Uint8Array, path: string): Uint8Array {
  const image = readElf(bytes, path);
  const loads = image.segments.filter(({ type }) => type === spec.PT_LOAD);
  const data = loads.findLast(({ memSize, fileSize }) => memSize > fileSize && fileSize > 0);
  if (data === undefined) return bytes;
  const end = data.offset + data.fileSize;
  const missing = (PAGE_SIZE - ((data.rva + data.fileSize) % PAGE_SIZE)) % PAGE_SIZE;
  const added = Math.min(missing, data.memSize - data.fileSize);
  const isLast = image.segments.every(
    ({ index, offset, fileSize }) => index === data.index || offset + fileSize <= end,
  );
  if (added === 0 || !isLast || image.header.segmentsAt >= end) return bytes;

  const room = Math.ceil(added / PAGE_SIZE) * PAGE_SIZE;
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
    // Of .bss it says where its bytes would begin: behind the segment, unless all of it has come into the file.
    const isLoaded = (flags & spec.SHF_ALLOC) !== 0;
    const whole = added === data.memSize - data.fileSize;
    add(sectionsAt + room + index * spec.SHDR_SIZE + 24, isLoaded ? (whole ? 0 : added) : room);
  }
  return padded;
}
