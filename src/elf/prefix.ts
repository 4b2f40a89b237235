/**
 * The ELF header and program headers read from an open file with few bounded reads: what a probe
 * needs of a file of any size. `read.ts` is the reader that checks and explains.
 */
import { readSync } from 'node:fs';
import { viewOf } from './bytes.ts';
import * as spec from './spec.ts';

export interface PrefixSegment {
  readonly type: number;
  /** `p_flags` */
  readonly flags: number;
  readonly offset: number;
  /** `p_vaddr` */
  readonly virtualAddress: number;
  readonly fileSize: number;
  readonly align: number;
}

export interface Ident {
  readonly class: 64 | 32;
  readonly littleEndian: boolean;
  readonly type: number;
  readonly machine: number;
}

/** The kernel starts no program whose program headers take more. */
const MAX_PHDRS_BYTES = 65536;

/** Up to `length` bytes at `offset`; fewer at the end of the file. Throws what readSync throws. */
export function readBytes(fd: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const got = readSync(fd, bytes, done, length - done, offset + done);
    if (got === 0) break;
    done += got;
  }
  return bytes.subarray(0, done);
}

/** What the first 20 bytes of an ELF file say, or undefined where they are no ELF header. */
export function identOf(start: Uint8Array): Ident | undefined {
  if (start.length < 20 || start[0] !== 0x7f || start[1] !== 0x45 || start[2] !== 0x4c || start[3] !== 0x46) {
    return undefined;
  }
  const elfClass = start[spec.EI_CLASS];
  const data = start[spec.EI_DATA];
  if (elfClass !== spec.ELFCLASS32 && elfClass !== spec.ELFCLASS64) return undefined;
  if (data !== spec.ELFDATA2LSB && data !== spec.ELFDATA2MSB) return undefined;
  const littleEndian = data === spec.ELFDATA2LSB;
  const view = viewOf(start);
  return {
    class: elfClass === spec.ELFCLASS64 ? 64 : 32,
    littleEndian,
    type: view.getUint16(16, littleEndian),
    machine: view.getUint16(18, littleEndian),
  };
}

/**
 * The program headers of an ELF64 little-endian file whose header is `start`. Empty where they do not
 * fit the file; segments that do not fit it are left out.
 */
export function prefixSegments(fd: number, size: number, start: Uint8Array): readonly PrefixSegment[] {
  const ident = identOf(start);
  if (start.length < spec.EHDR_SIZE || ident?.class !== 64 || !ident.littleEndian) return [];
  const view = viewOf(start);
  const count = view.getUint16(56, true);
  const tableAt = Number(view.getBigUint64(32, true));
  const tableSize = count * spec.PHDR_SIZE;
  if (view.getUint16(54, true) !== spec.PHDR_SIZE || tableSize > MAX_PHDRS_BYTES) return [];
  if (tableAt + tableSize > size) return [];
  const table = readBytes(fd, tableAt, tableSize);
  if (table.length < tableSize) return [];
  const tableView = viewOf(table);
  const found: PrefixSegment[] = [];
  for (let at = 0; at < tableSize; at += spec.PHDR_SIZE) {
    const segment = {
      type: tableView.getUint32(at, true),
      flags: tableView.getUint32(at + 4, true),
      offset: Number(tableView.getBigUint64(at + 8, true)),
      virtualAddress: Number(tableView.getBigUint64(at + 16, true)),
      fileSize: Number(tableView.getBigUint64(at + 32, true)),
      align: Number(tableView.getBigUint64(at + 48, true)),
    };
    if (segment.offset + segment.fileSize <= size) found.push(segment);
  }
  return found;
}
