/**
 * Unused code that cannot be executed where it stands: which pages those are, and what is kept of them elsewhere.
 *
 * Problem: a rewritten module has its used code twice and its unused code once, on disk too. And where a call of
 * unused code is to be seen, whoever sees it must know which pages are meant.
 *
 * Example: libfoo.so has 1 MB of code, of which 30 KB are used. Its copy keeps the 30 KB, constants and data;
 * 1 MB becomes a hole in the file, and 380 KB in `07-libfoo.so.cold`.
 *
 * Method: the pages of the original's executable segments are ranges; a range is cut into chunks of 32 KiB, each compressed by
 * itself, whole, as the rewriting left it: so any code that is come to is right, whether analysis knew it or not. Out of
 * the module only units are cut that may move, and what fills the space between two of them: constants in text, and what
 * is no unit, are read where they stand. `runtime/demand.c` brings a chunk at its first execution.
 *
 * Limits: the C library is never cut or let through, as signals are blocked in parts of it; nor are modules whose code
 * can be written, or goes on behind the end of the file. A module that was cut cannot be restored from itself.
 */
import { brotliCompressSync, constants } from 'node:zlib';
import { PAGE_SIZE } from '../base/brands.ts';
import { planChecksum } from '../base/checksum.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import { PF_W, PF_X, PT_LOAD } from '../elf/spec.ts';
import type { ModuleAnalysis, Unit } from '../rewrite/model.ts';
import { isFiller } from '../rewrite/padding.ts';
import * as layout from './cold-layout.ts';
import type { Cold, OnMiss } from './model.ts';

/** Higher ones take ten times as long for 1 % less. */
const QUALITY = 9;
const WINDOW_BITS = 16;
/** What src/rewrite/restore.ts ends a file with: it still tells a rewritten file. */
const UNDO_SECTION = '.winnow.undo';
const UNDO_TRAILER = 32;
/** Bytes between two functions. */
const MOST_FILLER = 64;

/** What is done with the unused code of one module. */
export function coldOf(image: ElfImage, { cold, onMiss }: { cold: Cold; onMiss?: OnMiss }): Cold {
  if (cold === 'file' || (cold === 'deny' && onMiss !== 'log')) return cold;
  if (image.soname === 'libc.so.6') return 'file';
  return codeSegments(image).every(isPlain) ? cold : 'file';
}

type Segment = ElfImage['segments'][number];

const codeSegments = (image: ElfImage): readonly Segment[] =>
  image.segments.filter(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0);

const isPlain = ({ flags, fileSize, memSize, offset, rva }: Segment): boolean =>
  (flags & PF_W) === 0 && memSize <= fileSize && offset % PAGE_SIZE === rva % PAGE_SIZE;

interface Range {
  /** RVA, and place in the file, of whole pages. */
  readonly start: number;
  readonly end: number;
  readonly offset: number;
}

const rangesOf = (image: ElfImage): Range[] =>
  codeSegments(image)
    .map(({ rva, memSize, offset }) => ({
      start: rva - (rva % PAGE_SIZE),
      end: Math.ceil((rva + memSize) / PAGE_SIZE) * PAGE_SIZE,
      offset: offset - (rva % PAGE_SIZE),
    }))
    .sort((a, b) => a.start - b.start);

export interface ColdRequest {
  /** As it was before it was rewritten. */
  readonly image: ElfImage;
  /** The rewritten file. */
  readonly bytes: Uint8Array;
  /** What `coldOf` said. */
  readonly cold: Cold;
  readonly onMiss: OnMiss;
}

/** The file that stands beside the module. Where its unused code can be executed, it has no ranges. */
export function writeColdFile({ image, bytes, cold, onMiss }: ColdRequest): Uint8Array {
  const ranges = cold === 'file' ? [] : rangesOf(image);
  const chunks = cold === 'store' ? ranges.map((range) => chunksOf(range, bytes)) : [];
  const all = chunks.flat();
  const headSize =
    layout.COLD_HEADER.size +
    ranges.length * layout.COLD_RANGE.size +
    all.length * layout.COLD_CHUNK_ROW.size;
  const head = Buffer.alloc(headSize);
  let firstChunk = 0;
  ranges.forEach(({ start, end }, index) => {
    const row = head.subarray(layout.COLD_HEADER.size + index * layout.COLD_RANGE.size);
    row.writeUInt32LE(start, layout.COLD_RANGE.start);
    row.writeUInt32LE(end, layout.COLD_RANGE.end);
    row.writeUInt32LE(firstChunk, layout.COLD_RANGE.first_chunk);
    firstChunk += chunks[index]?.length ?? 0;
  });
  const rows = head.subarray(layout.COLD_HEADER.size + ranges.length * layout.COLD_RANGE.size);
  let offset = headSize;
  all.forEach(({ packed, checksum }, index) => {
    const row = rows.subarray(index * layout.COLD_CHUNK_ROW.size);
    row.writeUInt32LE(offset, layout.COLD_CHUNK_ROW.offset);
    row.writeUInt32LE(packed.length, layout.COLD_CHUNK_ROW.chunk_size);
    row.writeBigUInt64LE(checksum, layout.COLD_CHUNK_ROW.checksum);
    offset += packed.length;
  });
  const flags = (cold === 'store' ? layout.COLD_STORED : 0) | (onMiss === 'log' ? layout.COLD_LOG : 0);
  head.writeBigUInt64LE(layout.COLD_MAGIC, layout.COLD_HEADER.magic);
  head.writeUInt32LE(layout.COLD_VERSION, layout.COLD_HEADER.version);
  head.writeUInt32LE(headSize, layout.COLD_HEADER.head_size);
  head.writeBigUInt64LE(BigInt(offset), layout.COLD_HEADER.total_size);
  head.writeBigUInt64LE(BigInt(bytes.length), layout.COLD_HEADER.module_size);
  head.writeUInt32LE(flags, layout.COLD_HEADER.flags);
  head.writeUInt32LE(ranges.length, layout.COLD_HEADER.range_count);
  head.writeUInt32LE(all.length, layout.COLD_HEADER.chunk_count);
  const checksum = planChecksum(head.subarray(layout.COLD_CHECKED_FROM));
  head.writeBigUInt64LE(checksum, layout.COLD_HEADER.head_checksum);
  return Buffer.concat([head, ...all.map(({ packed }) => packed)]);
}

interface Chunk {
  readonly packed: Uint8Array;
  readonly checksum: bigint;
}

function chunksOf({ start, end, offset }: Range, bytes: Uint8Array): Chunk[] {
  const count = Math.ceil((end - start) / layout.COLD_CHUNK);
  return Array.from({ length: count }, (_, index) => {
    const from = offset + index * layout.COLD_CHUNK;
    const to = Math.min(from + layout.COLD_CHUNK, offset + (end - start));
    // The last page of a file may end before its end: memory has zeros there.
    const plain = new Uint8Array(to - from);
    plain.set(bytes.subarray(from, to));
    const checksum = planChecksum(plain);
    branchesByTarget(plain, start + index * layout.COLD_CHUNK);
    const packed = brotliCompressSync(plain, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: QUALITY,
        [constants.BROTLI_PARAM_LGWIN]: WINDOW_BITS,
        [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
      },
    });
    return { packed, checksum };
  });
}

/**
 * Distances of branches become the addresses that they lead to, so that calls of one function look alike: a tenth
 * less to store. Where four bytes are none, nothing is lost: `restore_branches` in runtime/demand-load.c takes back
 * whatever this has done.
 */
export function branchesByTarget(code: Uint8Array, at: number): void {
  const view = viewOf(code);
  for (let i = 0; i + 6 <= code.length; ) {
    const first = code[i];
    const isNear = first === 0x0f && ((code[i + 1] ?? 0) & 0xf0) === 0x80;
    const opcode = first === 0xe8 || first === 0xe9 ? 1 : isNear ? 2 : 0;
    if (opcode === 0) {
      i += 1;
      continue;
    }
    const field = i + opcode;
    // Changed or not: what is looked at must not depend on what was changed behind it.
    i = field + 4;
    const end = at + i;
    const value = view.getInt32(field, true);
    if (end >= layout.COLD_REACH || value < -end || value >= layout.COLD_REACH) continue;
    view.setInt32(field, value < layout.COLD_REACH - end ? value + end : value - layout.COLD_REACH, true);
  }
}

/** Overwrites with zeros what is kept in the store alone; returns how many bytes that are. */
export function cutCode(image: ElfImage, { units }: ModuleAnalysis, bytes: Uint8Array): number {
  let cut = 0;
  let before: Unit | undefined;
  for (const unit of units) {
    if (unit.kept !== undefined) continue;
    const from = before === undefined ? unit.start : fillerFrom(image, before, unit);
    before = unit;
    const offset = image.offsetOf(unit.start);
    if (offset === undefined) continue;
    bytes.fill(0, offset - (unit.start - from), offset + (unit.end - unit.start));
    cut += unit.end - from;
  }
  return cut;
}

/**
 * The same for what nobody reads any more: unwind tables of the original where there are new ones, and the record of what
 * was changed, which leads nowhere without the code.
 */
export function cutRest(image: ElfImage, rewritten: ElfImage, bytes: Uint8Array): void {
  for (const { name, offset, size } of image.sections) {
    if (name !== '.eh_frame' && name !== '.eh_frame_hdr') continue;
    const now = rewritten.sections.find((section) => section.name === name);
    if (now !== undefined && now.offset >= image.bytes.length) bytes.fill(0, offset, offset + size);
  }
  const record = rewritten.sections.find(({ name }) => name === UNDO_SECTION);
  if (record !== undefined)
    bytes.fill(0, record.offset, Math.max(record.offset, record.offset + record.size - UNDO_TRAILER));
}

/** Bytes on disk: pages of zeros take none. */
export function bytesOnDisk(bytes: Uint8Array): number {
  const zeros = Buffer.alloc(PAGE_SIZE);
  let pages = 0;
  for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
    const page = bytes.subarray(at, at + PAGE_SIZE);
    if (!zeros.subarray(0, page.length).equals(page)) pages += 1;
  }
  return pages * PAGE_SIZE;
}

/** Where filler that ends at a unit begins, if there is nothing else behind the unit before it. */
function fillerFrom(image: ElfImage, before: Unit, unit: Unit): number {
  const from = image.offsetOf(before.end);
  const to = image.offsetOf(unit.start);
  if (from === undefined || to === undefined || to - from !== unit.start - before.end) return unit.start;
  // More than alignment takes may be a table that looks like filler.
  if (to - from >= MOST_FILLER) return unit.start;
  return isFiller(image.bytes.subarray(from, to)) ? before.end : unit.start;
}
