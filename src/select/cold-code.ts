/**
 * Unused code that cannot be executed where it stands: which pages those are, and what is kept of them elsewhere.
 *
 * Problem: a rewritten module has its used code twice and its unused code once, on disk too. And where a call of
 * unused code is to be seen, whoever sees it must know which pages are meant.
 *
 * Example: libfoo.so has 1 MB of code, of which 30 KB are used, and 200 KB of unwind tables. Its copy keeps the 30 KB, constants and data;
 * 1.2 MB become a hole in the file, and 400 KB in `07-libfoo.so.cold`.
 *
 * Method: the pages of the original's executable segments are ranges; a range is cut into chunks of 64 KiB, each compressed by
 * itself, whole, as the rewriting left it: so any code that is come to is right, whether analysis knew it or not. Out of
 * the module all pages are cut that nobody but the processor touches (hidden-pages.ts). Of the others only units are cut
 * that may move, and what fills the space between two of them: constants in text, and what is no unit, are read where
 * they stand. `runtime/demand.c` brings a chunk when it is first touched.
 *
 * Limits: the C library is never cut or let through, as signals are blocked in parts of it; nor are modules whose code
 * can be written, or goes on behind the end of the file, or has restartable sequences. A module that was cut cannot be restored from itself.
 */
import { brotliCompressSync, constants } from 'node:zlib';
import { PAGE_SIZE } from '../base/brands.ts';
import { planChecksum } from '../base/checksum.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf } from '../elf/read.ts';
import { PF_W, SHDR_SIZE, SHT_SYMTAB } from '../elf/spec.ts';
import type { ModuleAnalysis, Unit } from '../rewrite/model.ts';
import { isFiller } from '../rewrite/padding.ts';
import * as layout from './cold-layout.ts';
import {
  codeRanges,
  codeSegments,
  cutHidden,
  hiddenCode,
  type PageRange,
  unwindRanges,
} from './hidden-pages.ts';
import type { Cold, OnMiss } from './model.ts';

/** Higher ones take ten times as long for some per cent less. */
const QUALITY = 9;
const WINDOW_BITS = 16;
/** What src/rewrite/restore.ts ends a file with: it still tells a rewritten file. */
const UNDO_SECTION = '.winnow.undo';
const UNDO_TRAILER = 32;
/** `sh_size` in a section header. */
const SHDR_SIZE_FIELD = 32;
/** Bytes between two functions. */
const MOST_FILLER = 64;

/** Restartable sequences (rseq(2)): the kernel reads the word in front of where they abort to, and kills where it cannot. */
const RSEQ_SECTIONS = '__rseq_cs';

/** What is done with the unused code of one module. */
export function coldOf(image: ElfImage, { cold, onMiss }: { cold: Cold; onMiss?: OnMiss }): Cold {
  if (cold === 'file' || (cold === 'deny' && onMiss !== 'log')) return cold;
  if (image.soname === 'libc.so.6') return 'file';
  if (cold === 'store' && image.sections.some(({ name }) => name.startsWith(RSEQ_SECTIONS))) return 'file';
  return codeSegments(image).every(isPlain) ? cold : 'file';
}

type Segment = ElfImage['segments'][number];

const isPlain = ({ flags, fileSize, memSize, offset, rva }: Segment): boolean =>
  (flags & PF_W) === 0 && memSize <= fileSize && offset % PAGE_SIZE === rva % PAGE_SIZE;

export interface ColdRequest {
  /** As it was before it was rewritten. */
  readonly image: ElfImage;
  readonly analysis: ModuleAnalysis;
  /** The rewritten file. */
  readonly bytes: Uint8Array;
  /** What `coldOf` said. */
  readonly cold: Cold;
  readonly onMiss: OnMiss;
}

export interface ColdFile {
  /** The file that stands beside the module. Where its unused code can be executed, it has no ranges. */
  readonly contents: Uint8Array;
  /** What the module becomes. */
  readonly module: Uint8Array;
  /** Bytes of the module that were overwritten with zeros. */
  readonly cutBytes: number;
}

/** Makes the file that stands beside a module, and cuts out of `bytes` what is in that alone. */
export function separateCold({ image, analysis, bytes, cold, onMiss }: ColdRequest): ColdFile {
  const code = cold === 'file' ? [] : codeRanges(image);
  if (cold !== 'store') {
    const contents = coldFile({ ranges: code, hidden: [], bytes, size: bytes.length, cold, onMiss });
    return { contents, module: bytes, cutBytes: 0 };
  }
  const rewritten = readElf(bytes, image.path);
  const tables = unwindRanges(rewritten, code);
  const hidden = inOrder([...hiddenCode(image, analysis.units), ...tables]);
  const ranges = inOrder([...code, ...tables]);
  const size = sizeWithoutRecord(rewritten);
  const contents = coldFile({ ranges, hidden, bytes, size, cold, onMiss });
  const isHidden = ({ start, end }: Unit): boolean =>
    hidden.some((range) => range.start <= start && end <= range.end);
  const visible = analysis.units.filter((unit) => !isHidden(unit));
  const cutBytes = cutHidden(rewritten, hidden, bytes) + cutUnits(image, visible, bytes);
  cutRest(image, rewritten, bytes);
  return { contents, module: withoutRecord(rewritten, bytes, size), cutBytes };
}

const inOrder = (ranges: readonly PageRange[]): PageRange[] => [...ranges].sort((a, b) => a.start - b.start);

interface Contents extends Pick<ColdRequest, 'bytes' | 'cold' | 'onMiss'> {
  readonly ranges: readonly PageRange[];
  readonly hidden: readonly PageRange[];
  /** Of the module as it will be. */
  readonly size: number;
}

function coldFile({ ranges, hidden, bytes, size, cold, onMiss }: Contents): Uint8Array {
  const chunks = cold === 'store' ? ranges.map((range) => chunksOf(range, bytes)) : [];
  const all = chunks.flat();
  const hiddenAt = layout.COLD_HEADER.size + ranges.length * layout.COLD_RANGE.size;
  const rowsAt = hiddenAt + hidden.length * layout.COLD_HIDDEN.size;
  const headSize = rowsAt + all.length * layout.COLD_CHUNK_ROW.size;
  const head = Buffer.alloc(headSize);
  let firstChunk = 0;
  ranges.forEach(({ start, end, isCode }, index) => {
    const row = head.subarray(layout.COLD_HEADER.size + index * layout.COLD_RANGE.size);
    row.writeUInt32LE(start, layout.COLD_RANGE.start);
    row.writeUInt32LE(end, layout.COLD_RANGE.end);
    row.writeUInt32LE(firstChunk, layout.COLD_RANGE.first_chunk);
    row.writeUInt32LE(isCode ? layout.COLD_RANGE_CODE : 0, layout.COLD_RANGE.flags);
    firstChunk += chunks[index]?.length ?? 0;
  });
  hidden.forEach(({ start, end }, index) => {
    const row = head.subarray(hiddenAt + index * layout.COLD_HIDDEN.size);
    row.writeUInt32LE(start, layout.COLD_HIDDEN.start);
    row.writeUInt32LE(end, layout.COLD_HIDDEN.end);
  });
  let offset = headSize;
  all.forEach(({ packed, checksum }, index) => {
    const row = head.subarray(rowsAt + index * layout.COLD_CHUNK_ROW.size);
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
  head.writeBigUInt64LE(BigInt(size), layout.COLD_HEADER.module_size);
  head.writeUInt32LE(flags, layout.COLD_HEADER.flags);
  head.writeUInt32LE(ranges.length, layout.COLD_HEADER.range_count);
  head.writeUInt32LE(all.length, layout.COLD_HEADER.chunk_count);
  head.writeUInt32LE(hidden.length, layout.COLD_HEADER.hidden_count);
  const checksum = planChecksum(head.subarray(layout.COLD_CHECKED_FROM));
  head.writeBigUInt64LE(checksum, layout.COLD_HEADER.head_checksum);
  return Buffer.concat([head, ...all.map(({ packed }) => packed)]);
}

interface Chunk {
  readonly packed: Uint8Array;
  readonly checksum: bigint;
}

function chunksOf({ start, end, offset, isCode }: PageRange, bytes: Uint8Array): Chunk[] {
  const count = Math.ceil((end - start) / layout.COLD_CHUNK);
  return Array.from({ length: count }, (_, index) => {
    const from = offset + index * layout.COLD_CHUNK;
    const to = Math.min(from + layout.COLD_CHUNK, offset + (end - start));
    // The last page of a file may end before its end: memory has zeros there.
    const plain = new Uint8Array(to - from);
    plain.set(bytes.subarray(from, to));
    const checksum = planChecksum(plain);
    if (isCode) distancesToTargets(plain, start + index * layout.COLD_CHUNK);
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

/** Bytes in front of what may be a distance: call, jmp; near jcc; REX prefix, opcode, rip-relative operand. */
function opcodeSize(code: Uint8Array, at: number): number {
  const [first = 0, second = 0, third = 0] = [code[at], code[at + 1], code[at + 2]];
  if (first === 0xe8 || first === 0xe9) return 1;
  if (first === 0x0f && (second & 0xf0) === 0x80) return 2;
  // A branch in second place would make the third byte one that may be changed.
  const isOperand = (first & 0xf0) === 0x40 && second !== 0xe8 && second !== 0xe9 && (third & 0xc7) === 5;
  return isOperand ? 3 : 0;
}

/**
 * Distances become the addresses that they lead to, so that calls of one function, and uses of one constant, look alike: a
 * tenth to a quarter less to store. Where four bytes are none, nothing is lost: `restore_targets` in runtime/demand-load.c takes back
 * whatever this has done.
 */
export function distancesToTargets(code: Uint8Array, at: number): void {
  const view = viewOf(code);
  for (let i = 0; i + 7 <= code.length; ) {
    const opcode = opcodeSize(code, i);
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

/** Overwrites functions that lie among data with zeros; returns how many bytes that are. */
function cutUnits(image: ElfImage, units: readonly Unit[], bytes: Uint8Array): number {
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
 * The same for what no program reads any more: unwind tables of the original where there are new ones, and symbols that were
 * added for debuggers, where the original had none.
 */
function cutRest(image: ElfImage, rewritten: ElfImage, bytes: Uint8Array): void {
  for (const { name, offset, size } of image.sections) {
    if (name !== '.eh_frame' && name !== '.eh_frame_hdr') continue;
    const now = rewritten.sections.find((section) => section.name === name);
    if (now !== undefined && now.offset >= image.bytes.length) bytes.fill(0, offset, offset + size);
  }
  const symbols = rewritten.sections.find(({ type }) => type === SHT_SYMTAB);
  if (symbols === undefined || image.sections.some(({ type }) => type === SHT_SYMTAB)) return;
  bytes.fill(0, symbols.offset, symbols.offset + symbols.size);
  const row = rewritten.header.sectionsAt + symbols.index * SHDR_SIZE;
  // A section header that means nothing: SHT_NULL.
  bytes.fill(0, row, row + SHDR_SIZE);
}

/** The record of what was changed, which leads nowhere without the code, where the file ends with it. */
const recordOf = ({ sections, bytes }: ElfImage): ElfImage['sections'][number] | undefined =>
  sections.find(
    ({ name, offset, size }) =>
      name === UNDO_SECTION && size > UNDO_TRAILER && offset + size === bytes.length,
  );

function sizeWithoutRecord(rewritten: ElfImage): number {
  const record = recordOf(rewritten);
  return record === undefined ? rewritten.bytes.length : record.offset + UNDO_TRAILER;
}

/** The file as far as there is something in it, and the trailer. */
function withoutRecord(rewritten: ElfImage, bytes: Uint8Array, size: number): Uint8Array {
  const record = recordOf(rewritten);
  if (record === undefined) return bytes;
  const row = rewritten.header.sectionsAt + record.index * SHDR_SIZE;
  viewOf(bytes).setBigUint64(row + SHDR_SIZE_FIELD, BigInt(UNDO_TRAILER), true);
  bytes.copyWithin(record.offset, bytes.length - UNDO_TRAILER);
  return bytes.subarray(0, size);
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
