/**
 * The code of one file with a breakpoint at every place where control comes in from outside: what to
 * write into a memory that maps it, what stood there before, and which of them were met.
 *
 * Pages are written whole, as one write of many pages costs little more than one of a byte; pages without
 * breakpoints are left alone, so that page tables go on telling who touched them.
 */
import { PAGE_SIZE, type Rva, rva } from '../base/brands.ts';
import { type PrefixSegment, prefixSegments, readBytes } from '../elf/prefix.ts';
import { EHDR_SIZE, PF_X, PT_LOAD } from '../elf/spec.ts';
import type { Fd } from '../sys/fds.ts';

/** The instruction of a breakpoint, one byte. */
export const INT3 = 0xcc;

/** Pages that follow each other and have breakpoints, as they are to be written. */
export interface PageRun {
  /** RVA of the first byte, a multiple of the page size. */
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** The executable segments of an ELF64 file; empty where it is none, or of another machine's page size. */
export function codeSegments(fd: Fd, size: number): readonly PrefixSegment[] {
  return prefixSegments(fd, size, readBytes(fd, 0, EHDR_SIZE)).filter(
    ({ type, flags, offset, virtualAddress }) =>
      type === PT_LOAD && (flags & PF_X) !== 0 && offset % PAGE_SIZE === virtualAddress % PAGE_SIZE,
  );
}

export class CodeFile {
  readonly path: string;
  readonly segments: readonly PrefixSegment[];
  /** Ascending. */
  readonly runs: readonly PageRun[];
  /** In the order of first use over all memories. */
  readonly entered: Rva[] = [];
  /** RVAs of the breakpoints, ascending. */
  readonly #at: Uint32Array;
  readonly #original: Uint8Array;
  readonly #seen: Uint8Array;

  /** @param places where to break, ascending; those outside of the segments are left out. */
  constructor(path: string, fd: Fd, segments: readonly PrefixSegment[], places: Uint32Array) {
    this.path = path;
    this.segments = segments;
    const at: number[] = [];
    const original: number[] = [];
    const runs: PageRun[] = [];
    for (const segment of segments.toSorted((a, b) => a.virtualAddress - b.virtualAddress)) {
      for (const run of pagesWith(places, segment)) {
        const bytes = readPages(fd, run.start - segment.virtualAddress + segment.offset, run.end - run.start);
        for (const place of run.places) {
          const before = bytes[place - run.start] ?? INT3;
          // A breakpoint of the program's own stays its own.
          if (before === INT3) continue;
          at.push(place);
          original.push(before);
          bytes[place - run.start] = INT3;
        }
        runs.push({ start: run.start, bytes });
      }
    }
    this.runs = runs;
    this.#at = Uint32Array.from(at);
    this.#original = Uint8Array.from(original);
    this.#seen = new Uint8Array(at.length);
  }

  get count(): number {
    return this.#at.length;
  }

  /** The breakpoint at an RVA, or -1. */
  indexOf(place: number): number {
    const index = this.indexFrom(place);
    return this.#at[index] === place ? index : -1;
  }

  /** The first breakpoint at an RVA or behind it. */
  indexFrom(place: number): number {
    let low = 0;
    let high = this.#at.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#at[middle] ?? 0) < place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The RVA of a breakpoint; beyond the last one, an address beyond all code. */
  placeOf(index: number): number {
    return this.#at[index] ?? Number.MAX_SAFE_INTEGER;
  }

  /** The byte that belongs where a breakpoint is. */
  originalOf(index: number): number {
    return this.#original[index] ?? 0;
  }

  noteEntered(index: number): void {
    if (this.#seen[index] !== 0) return;
    this.#seen[index] = 1;
    this.entered.push(rva(this.placeOf(index)));
  }

  /** Where RVA 0 of the file lies in a memory that has `fileOffset` mapped at `at`; undefined if that is no code. */
  biasOf(at: number, fileOffset: number): number | undefined {
    const segment = this.segments.find(
      ({ offset, fileSize }) => fileOffset >= offset - (offset % PAGE_SIZE) && fileOffset < offset + fileSize,
    );
    return segment === undefined ? undefined : at - (fileOffset - segment.offset + segment.virtualAddress);
  }
}

/** The last page of a file may end before its end: memory has zeros there. */
function readPages(fd: Fd, offset: number, length: number): Uint8Array {
  const bytes = readBytes(fd, offset, length);
  if (bytes.length === length) return bytes;
  const padded = new Uint8Array(length);
  padded.set(bytes);
  return padded;
}

interface WantedRun {
  readonly start: number;
  end: number;
  readonly places: number[];
}

/** The pages of a segment that hold one of `places` (ascending), neighbours joined. */
function pagesWith(places: Uint32Array, { virtualAddress, fileSize }: PrefixSegment): WantedRun[] {
  const runs: WantedRun[] = [];
  let previous = -1;
  for (const place of places) {
    if (place < virtualAddress || place === previous) continue;
    if (place >= virtualAddress + fileSize) break;
    previous = place;
    const page = place - (place % PAGE_SIZE);
    const last = runs.at(-1);
    if (last === undefined || last.end < page)
      runs.push({ start: page, end: page + PAGE_SIZE, places: [place] });
    else {
      last.end = page + PAGE_SIZE;
      last.places.push(place);
    }
  }
  return runs;
}
