/**
 * Which pages of a process are backed by memory: PAGEMAP_SCAN (Linux 6.7) or, where the kernel lacks
 * it, the words of /proc/PID/pagemap.
 *
 * A page counts when it is present or swapped out: a page of a private file mapping that was copied on
 * write loses its file bit, and may be in swap, but its content was read from the file first.
 *
 * Layouts: Documentation/admin-guide/mm/pagemap.rst and include/uapi/linux/fs.h of the kernel.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import koffi from 'koffi';
import { PAGE_SIZE, type Pid, type UserAddress, userAddress } from '../base/brands.ts';
import { ioctl, lastErrno } from './libc.ts';

/** Addresses from `start` up to, not including, `end`. */
export interface AddressRange {
  readonly start: UserAddress;
  readonly end: UserAddress;
}

const PAGEMAP_SCAN = 0xc0606610;
const PAGE_IS_FILE = 1n << 2n;
const PAGE_IS_PRESENT = 1n << 3n;
const PAGE_IS_SWAPPED = 1n << 4n;
const PAGE_IS_PFNZERO = 1n << 5n;
const ARG_SIZE = 96;
const ARG = {
  size: 0,
  start: 16,
  end: 24,
  walkEnd: 32,
  vec: 40,
  vecLen: 48,
  inverted: 64,
  mask: 72,
  anyOf: 80,
  returnMask: 88,
} as const;
const REGION_SIZE = 24;
const REGIONS = 4096;

let scanMissing = false;

/** What snapshots use on this kernel; known after the first one. */
export const pagemapMethod = (): 'scan' | 'bits' => (scanMissing ? 'bits' : 'scan');

/**
 * The backed pages within `ranges` (ascending, disjoint), ascending, neighbours joined.
 *
 * @param method what to look with; `bits` works on any kernel.
 * @throws Error with the errno where the process is gone or may not be looked at.
 */
export const backedPages = (
  process: Pid,
  ranges: readonly AddressRange[],
  method: 'scan' | 'bits' = pagemapMethod(),
): AddressRange[] => pagesOf(process, ranges, method, BACKED);

/**
 * The pages within `ranges` that are the process's own: anonymous, or private copies of a file's pages. The
 * zero page, which reading of untouched memory maps, may be among them.
 *
 * @throws as `backedPages`.
 */
export const ownPages = (
  process: Pid,
  ranges: readonly AddressRange[],
  method: 'scan' | 'bits' = pagemapMethod(),
): AddressRange[] => pagesOf(process, ranges, method, OWN);

/** Which pages are asked for: categories that must not be set, and bits of pagemap's words likewise. */
interface Wanted {
  readonly without: bigint;
  readonly withoutBits: bigint;
}
const BACKED: Wanted = { without: 0n, withoutBits: 0n };
const OWN: Wanted = { without: PAGE_IS_FILE | PAGE_IS_PFNZERO, withoutBits: 1n << 61n };

function pagesOf(
  process: Pid,
  ranges: readonly AddressRange[],
  method: 'scan' | 'bits',
  wanted: Wanted,
): AddressRange[] {
  if (ranges.length === 0) return [];
  const fd = openSync(`/proc/${process}/pagemap`, 'r');
  try {
    if (method === 'scan') {
      const scanned = scanPages(fd, ranges, wanted);
      if (scanned !== undefined) return scanned;
      scanMissing = true;
    }
    const found: AddressRange[] = [];
    for (const range of ranges) readBits(fd, range, wanted, found);
    return found;
  } finally {
    closeSync(fd);
  }
}

/** The highest address of a program, less the page that the kernel keeps free. */
export const ALL_MEMORY: AddressRange = { start: userAddress(0), end: userAddress(0x7ffffffff000) };

/**
 * The backed pages of a range as the kernel writes them, for `regionsOf` to read later: a program that
 * waits is let go sooner.
 *
 * @returns undefined where the kernel has no PAGEMAP_SCAN.
 * @throws Error with the errno where the process is gone or may not be looked at.
 */
export function scanRaw(process: Pid, range: AddressRange): Buffer | undefined {
  if (scanMissing) return undefined;
  const fd = openSync(`/proc/${process}/pagemap`, 'r');
  const pieces: Buffer[] = [];
  try {
    const works = walk(fd, range, BACKED, (vec, count) =>
      pieces.push(Buffer.from(vec.subarray(0, count * REGION_SIZE))),
    );
    scanMissing = !works;
    return works ? Buffer.concat(pieces) : undefined;
  } finally {
    closeSync(fd);
  }
}

/** What `scanRaw` gave, or the watcher: ascending. */
export function regionsOf(bytes: Buffer): AddressRange[] {
  const regions: AddressRange[] = [];
  for (let at = 0; at + REGION_SIZE <= bytes.length; at += REGION_SIZE) {
    append(regions, Number(bytes.readBigUInt64LE(at)), Number(bytes.readBigUInt64LE(at + 8)));
  }
  return regions;
}

/** One call walks everything from the first range to the last; what lies between is cut away. */
function scanPages(fd: number, ranges: readonly AddressRange[], wanted: Wanted): AddressRange[] | undefined {
  const first = ranges[0];
  const last = ranges.at(-1);
  if (first === undefined || last === undefined) return [];
  const found: AddressRange[] = [];
  let range = 0;
  const works = walk(fd, { start: first.start, end: last.end }, wanted, (vec, count) => {
    for (let i = 0; i < count; i++) {
      const start = Number(vec.readBigUInt64LE(i * REGION_SIZE));
      const end = Number(vec.readBigUInt64LE(i * REGION_SIZE + 8));
      range = cut(ranges, range, start, end, found);
    }
  });
  return works ? found : undefined;
}

const arg = Buffer.alloc(ARG_SIZE);
const vec = Buffer.alloc(REGIONS * REGION_SIZE);

/** @returns whether the kernel has the call; `take` gets some regions at a time, and may not keep them. */
function walk(
  fd: number,
  { start, end }: AddressRange,
  wanted: Wanted,
  take: (vec: Buffer, count: number) => void,
): boolean {
  arg.fill(0);
  arg.writeBigUInt64LE(BigInt(ARG_SIZE), ARG.size);
  arg.writeBigUInt64LE(BigInt(end), ARG.end);
  arg.writeBigUInt64LE(koffi.address(vec), ARG.vec);
  arg.writeBigUInt64LE(BigInt(REGIONS), ARG.vecLen);
  arg.writeBigUInt64LE(wanted.without, ARG.inverted);
  arg.writeBigUInt64LE(wanted.without, ARG.mask);
  arg.writeBigUInt64LE(PAGE_IS_PRESENT | PAGE_IS_SWAPPED, ARG.anyOf);
  arg.writeBigUInt64LE(PAGE_IS_PRESENT | PAGE_IS_SWAPPED, ARG.returnMask);
  let at = BigInt(start);
  for (;;) {
    arg.writeBigUInt64LE(at, ARG.start);
    const count = ioctl(fd, PAGEMAP_SCAN, arg);
    if (count < 0) {
      const errno = lastErrno();
      if (errno === 'ENOTTY' || errno === 'EINVAL') return false;
      throw new Error(`PAGEMAP_SCAN: ${errno}`);
    }
    take(vec, count);
    at = arg.readBigUInt64LE(ARG.walkEnd);
    if (count === 0 || at >= BigInt(end)) return true;
  }
}

/** Adds what [start, end) shares with `ranges` from index `from` on; returns where to go on. */
function cut(
  ranges: readonly AddressRange[],
  from: number,
  start: number,
  end: number,
  into: AddressRange[],
): number {
  let i = from;
  for (; i < ranges.length; i++) {
    const range = ranges[i];
    if (range === undefined || range.start >= end) break;
    const low = Math.max(range.start, start);
    const high = Math.min(range.end, end);
    if (low < high) append(into, low, high);
    // The next region may begin in this range too.
    if (range.end > end) break;
  }
  return i;
}

function append(into: AddressRange[], start: number, end: number): void {
  const previous = into.at(-1);
  if (previous !== undefined && previous.end === start) {
    into[into.length - 1] = { start: previous.start, end: userAddress(end) };
  } else {
    into.push({ start: userAddress(start), end: userAddress(end) });
  }
}

const PRESENT_BIT = 1n << 63n;
const SWAPPED_BIT = 1n << 62n;

function readBits(fd: number, range: AddressRange, wanted: Wanted, found: AddressRange[]): void {
  const words = Buffer.alloc(8 * 512);
  let page = range.start / PAGE_SIZE;
  const endPage = range.end / PAGE_SIZE;
  while (page < endPage) {
    const bytes = Math.min(512, endPage - page) * 8;
    const got = readSync(fd, words, 0, bytes, page * 8);
    if (got < 8) break;
    for (let at = 0; at + 8 <= got; at += 8) {
      const word = words.readBigUInt64LE(at);
      if ((word & (PRESENT_BIT | SWAPPED_BIT)) !== 0n && (word & wanted.withoutBits) === 0n) {
        append(found, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      }
      page++;
    }
  }
}
