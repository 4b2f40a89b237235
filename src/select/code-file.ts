/**
 * The code of one file with a breakpoint at every place where control comes in from outside: what to
 * write into a memory that maps it, what stood there before, and which of them were met.
 *
 * Pages are written whole, as one write of many pages costs little more than one of a byte; pages without
 * breakpoints are left alone, so that page tables go on telling who touched them.
 */
import { readSync } from 'node:fs';
import { PAGE_SIZE, type Rva, rva } from '../base/brands.ts';
import { type PrefixSegment, prefixSegments, readBytes } from '../elf/prefix.ts';
import { EHDR_SIZE, PF_X, PT_LOAD } from '../elf/spec.ts';
import type { BreakpointPlaces } from '../rewrite/model.ts';
import type { Fd } from '../sys/fds.ts';

/** The instruction of a breakpoint, one byte. */
export const INT3 = 0xcc;

/** Pages that follow each other and have breakpoints; at most MOST_PAGES. */
export interface PageRun {
  /** RVA of the first byte, a multiple of the page size. */
  readonly start: number;
  /** RVA behind the last byte. */
  readonly end: number;
  /** Where the first byte stands in the file. */
  readonly offset: number;
}

/** As much as stays in the processor's cache between a read and a write. */
const MOST_PAGES = 64;
const scratch = Buffer.alloc(MOST_PAGES * PAGE_SIZE);

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
  /** By breakpoint: a number that those have in common that lead into the same code. */
  readonly #group: Uint32Array;
  readonly #seen: Uint8Array;

  /** Places outside of the segments are left out. */
  constructor(
    path: string,
    fd: Fd,
    segments: readonly PrefixSegment[],
    { at: places, follows }: BreakpointPlaces,
  ) {
    this.path = path;
    this.segments = segments;
    const ascending = segments.toSorted((a, b) => a.virtualAddress - b.virtualAddress);
    this.runs = ascending.flatMap((segment) => runsIn(places, segment));
    const at = new Uint32Array(places.length);
    const original = new Uint8Array(places.length);
    const group = new Uint32Array(places.length);
    const groupOf = numberGroups(follows);
    let count = 0;
    let next = 0;
    for (const run of this.runs) {
      const bytes = readRun(fd, run.offset, run.end - run.start);
      while ((places[next] ?? run.end) < run.start) next++;
      for (; (places[next] ?? run.end) < run.end; next++) {
        const place = places[next] ?? 0;
        const before = bytes[place - run.start] ?? INT3;
        // A breakpoint of the program's own stays its own. One behind the segment is not the segment's.
        if (before === INT3 || !ascending.some((segment) => holds(segment, place))) continue;
        at[count] = place;
        original[count] = before;
        group[count] = groupOf[next] ?? 0;
        count++;
      }
    }
    this.#at = at.slice(0, count);
    this.#original = original.slice(0, count);
    this.#group = group.slice(0, count);
    this.#seen = new Uint8Array(count);
  }

  /**
   * The bytes to write into the pages from `start` to `end` (RVAs in `run`): the file's, with its breakpoints. They are
   * overwritten by the next call.
   */
  bytesFor(fd: Fd, run: PageRun, start: number, end: number): Uint8Array {
    const bytes = readRun(fd, run.offset + start - run.start, end - start);
    for (let index = this.indexFrom(start); this.placeOf(index) < end; index++) {
      bytes[this.placeOf(index) - start] = INT3;
    }
    return bytes;
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

  /** Other breakpoints that lead into the same code. */
  *besides(index: number): Generator<number> {
    const group = this.#group[index];
    for (let other = index - 1; this.#group[other] === group; other--) yield other;
    for (let other = index + 1; this.#group[other] === group; other++) yield other;
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

/** Pages of the file, in the scratch buffer; the last page may end before its end: memory has zeros there. */
function readRun(fd: Fd, offset: number, length: number): Uint8Array {
  let done = 0;
  while (done < length) {
    const got = readSync(fd, scratch, done, length - done, offset + done);
    if (got === 0) break;
    done += got;
  }
  return scratch.fill(0, done, length).subarray(0, length);
}

function numberGroups(follows: Uint8Array): Uint32Array {
  let group = 0;
  return Uint32Array.from(follows, (follower) => {
    group += 1 - follower;
    return group;
  });
}

const holds = ({ virtualAddress, fileSize }: PrefixSegment, place: number): boolean =>
  place >= virtualAddress && place < virtualAddress + fileSize;

/** The pages of a segment that hold one of `places` (ascending), neighbours joined. */
function runsIn(places: Uint32Array, segment: PrefixSegment): PageRun[] {
  const { virtualAddress, offset } = segment;
  const runs: { start: number; end: number; offset: number }[] = [];
  for (const place of places) {
    if (!holds(segment, place)) continue;
    const page = place - (place % PAGE_SIZE);
    const last = runs.at(-1);
    if (last !== undefined && page < last.end) continue;
    if (last !== undefined && page === last.end && last.end - last.start < scratch.length) {
      last.end = page + PAGE_SIZE;
    } else {
      runs.push({ start: page, end: page + PAGE_SIZE, offset: page - virtualAddress + offset });
    }
  }
  return runs;
}
