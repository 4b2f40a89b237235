/** The executable bytes of a module by address, and which of them instructions begin at. */
import { type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { AddressBits } from './address-bits.ts';

/** Addresses are kept as 32-bit numbers in tables; the linker's limits for code are lower still. */
export const HIGHEST_ADDRESS = 0xffff_ffff;

/** The part of an executable PT_LOAD segment that the file holds. */
export interface CodeSegment {
  readonly start: Rva;
  /** Exclusive. */
  readonly end: Rva;
  readonly bytes: Uint8Array;
  /** The program may change its code. */
  readonly writable: boolean;
}

export class CodeMap {
  /** Ascending. */
  readonly segments: readonly CodeSegment[];
  #last: CodeSegment | undefined;
  /** Where instructions begin. */
  readonly #starts: AddressBits;

  constructor(image: ElfImage) {
    this.segments = image.segments
      .filter(
        ({ type, flags, fileSize }) => type === spec.PT_LOAD && (flags & spec.PF_X) !== 0 && fileSize > 0,
      )
      .toSorted((a, b) => a.rva - b.rva)
      .map((segment) => ({
        start: segment.rva,
        end: rva(segment.rva + segment.fileSize),
        bytes: image.bytes.subarray(segment.offset, segment.offset + segment.fileSize),
        writable: (segment.flags & spec.PF_W) !== 0,
      }));
    this.#last = this.segments[0];
    this.#starts = new AddressBits(this.segments);
  }

  /** Executable bytes of the file. */
  get size(): number {
    return this.segments.reduce((sum, { start, end }) => sum + (end - start), 0);
  }

  segmentOf(at: number): CodeSegment | undefined {
    const last = this.#last;
    if (last !== undefined && at >= last.start && at < last.end) return last;
    return this.#find(at);
  }

  /** By itself: a function that makes one like this allocates whenever it is called. */
  #find(at: number): CodeSegment | undefined {
    const found = this.segments.find(({ start, end }) => at >= start && at < end);
    if (found !== undefined) this.#last = found;
    return found;
  }

  has(at: number): boolean {
    return this.segmentOf(at) !== undefined;
  }

  /** The bytes of a range, as far as they lie in the segment of its start. */
  bytes(start: number, end: number): Uint8Array {
    const segment = this.segmentOf(start);
    if (segment === undefined) return new Uint8Array();
    return segment.bytes.subarray(start - segment.start, Math.min(end, segment.end) - segment.start);
  }

  /** One byte; -1 where there is none. */
  byteAt(at: number): number {
    const segment = this.segmentOf(at);
    return segment?.bytes[at - segment.start] ?? -1;
  }

  markStart(at: number): void {
    this.#starts.set(at);
  }

  isStart(at: number): boolean {
    return this.#starts.has(at);
  }

  /** Forgets the instructions of a range. */
  clearStarts(start: number, end: number): void {
    for (let at = start; at < end; at++) this.#starts.clear(at);
  }
}
