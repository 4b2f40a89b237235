/** A whole ELF file in memory: every reading of it goes through bounds that answer with an error of ours. */
import { type FileOffset, fileOffset } from '../base/brands.ts';
import { elfError } from './errors.ts';

export class ElfBytes {
  readonly bytes: Uint8Array;
  readonly path: string;

  constructor(bytes: Uint8Array, path: string) {
    this.bytes = bytes;
    this.path = path;
  }

  get size(): number {
    return this.bytes.length;
  }

  /** The bytes of one part of the file. @throws E_ELF_TRUNCATED where the part is not wholly inside. */
  range(offset: number, size: number, part: string): Uint8Array {
    // Written as a subtraction: the sum could pass 2^53 and lose bits.
    if (offset > this.size || size > this.size - offset) {
      throw elfError('E_ELF_TRUNCATED', {
        path: this.path,
        part,
        what: `${size} bytes at offset ${offset} go past the end of the file, which has ${this.size}`,
      });
    }
    return this.bytes.subarray(offset, offset + size);
  }

  /** Like range, as a view that reads numbers. */
  view(offset: number, size: number, part: string): DataView {
    return viewOf(this.range(offset, size, part));
  }

  /** A 64-bit field as a number. @throws E_ELF_VALUE beyond 2^53 - 1. */
  u64(view: DataView, at: number, field: string, part: string): number {
    const value = safeU64(view, at);
    if (value !== undefined) return value;
    throw elfError('E_ELF_VALUE', {
      path: this.path,
      part,
      what: `${field} is 0x${view.getBigUint64(at, true).toString(16)}, beyond any file or address of a program`,
    });
  }

  /** A 64-bit field that is a place in the file. */
  offset(view: DataView, at: number, field: string, part: string): FileOffset {
    return fileOffset(this.u64(view, at, field, part));
  }
}

export const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A 64-bit little-endian field as a number, or undefined beyond 2^53 - 1. */
export function safeU64(view: DataView, at: number): number | undefined {
  const high = view.getUint32(at + 4, true);
  return high > 0x1fffff ? undefined : high * 0x1_0000_0000 + view.getUint32(at, true);
}
