/** Reads NAME.linked back, for `image show`. runtime/restore.c reads the same bytes in place. */
import { PAGE_SIZE, rva, type UserAddress, userAddress } from '../../base/brands.ts';
import { planChecksum } from '../../base/checksum.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import { readTime } from '../../base/records.ts';
import type { MachineTraits } from '../model.ts';
import { linkedDamaged, linkedNewer, linkedTruncated } from './linked-errors.ts';
import {
  FIX_UP_KINDS,
  LINKED_ABSENT,
  LINKED_FILE,
  LINKED_FIXUP,
  LINKED_FROM_NOTHING,
  LINKED_FROM_PAGES,
  LINKED_FROM_PROGRAM,
  LINKED_HEAD_MAX,
  LINKED_HEADER,
  LINKED_HEADER_SIZE_1,
  LINKED_JOINED,
  LINKED_MAGIC,
  LINKED_MAP,
  LINKED_NOT_MAPPED,
  LINKED_PAGE_IN,
  LINKED_SLID,
  LINKED_UNCHANGED,
  LINKED_UNSET,
  LINKED_VERSION,
  LINKED_VERSION_FIXED,
  LINKED_WATCH,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  versionFor,
} from './linked-layout.ts';
import type {
  MapSource,
  PlacedFile,
  PlacedFixUp,
  PlacedFixUpKind,
  PlacedImage,
  PlacedMap,
  PlacedWatch,
} from './linked-model.ts';
import { decodeProcessor } from './linked-processor.ts';
import { whatIsWrong } from './linked-rules.ts';
import { decodeSlide, slideEnd } from './linked-slide.ts';

interface Tables {
  readonly bytes: Buffer;
  /** Names the file in errors. */
  readonly path: string;
  /** Where each table begins. */
  readonly files: number;
  readonly maps: number;
  readonly fixUps: number;
  readonly watches: number;
  /** Of no bytes where nothing slides. */
  readonly slide: number;
  readonly strings: number;
  readonly headEnd: number;
  readonly pagesOffset: number;
}

const headerSize = (bytes: Buffer): number =>
  bytes.readUInt32LE(ENVELOPE.version) === 1 ? LINKED_HEADER_SIZE_1 : LINKED_HEADER.size;

/** The head's size, its checksum right. */
function checkHead(bytes: Buffer, path: string): number {
  if (bytes.length < ENVELOPE.size) throw linkedTruncated(path);
  if (bytes.readBigUInt64LE(ENVELOPE.magic) !== LINKED_MAGIC)
    throw linkedDamaged(path, 'it does not begin as one');
  const version = bytes.readUInt32LE(ENVELOPE.version);
  if (version > LINKED_VERSION) throw linkedNewer(path, version, LINKED_VERSION);
  if (version === 0) throw linkedDamaged(path, 'there is no version 0');
  const total = bytes.readBigUInt64LE(ENVELOPE.total_size);
  if (total > BigInt(bytes.length) && total <= BigInt(Number.MAX_SAFE_INTEGER)) throw linkedTruncated(path);
  if (total !== BigInt(bytes.length)) throw linkedDamaged(path, 'its size is wrong');
  const head = bytes.readUInt32LE(ENVELOPE.head_size);
  if (head % 8 !== 0 || head < headerSize(bytes) || head > Math.min(LINKED_HEAD_MAX, bytes.length))
    throw linkedDamaged(path, 'the size of its head is wrong');
  if (planChecksum(bytes.subarray(ENVELOPE.size, head)) !== bytes.readBigUInt64LE(ENVELOPE.head_checksum))
    throw linkedDamaged(path, 'the checksum of its head is wrong');
  return head;
}

/** Where the pages begin, their checksum right. */
function checkPages(bytes: Buffer, head: number, path: string): number {
  const offset = bytes.readBigUInt64LE(LINKED_HEADER.pages_offset);
  const size = bytes.readBigUInt64LE(LINKED_HEADER.pages_size);
  const wanted = Math.ceil(head / PAGE_SIZE) * PAGE_SIZE;
  if (offset !== BigInt(wanted) || offset + size !== BigInt(bytes.length) || bytes.length % PAGE_SIZE !== 0)
    throw linkedDamaged(path, 'its pages are not where its head ends');
  if (bytes.subarray(head, wanted).some((byte) => byte !== 0))
    throw linkedDamaged(path, 'there is something between its head and its pages');
  if (planChecksum(bytes.subarray(wanted)) !== bytes.readBigUInt64LE(LINKED_HEADER.pages_checksum))
    throw linkedDamaged(path, 'the checksum of its pages is wrong');
  return wanted;
}

function openTables(bytes: Buffer, path: string): Tables {
  const headEnd = checkHead(bytes, path);
  const pagesOffset = checkPages(bytes, headEnd, path);
  const files = headerSize(bytes);
  const maps = files + bytes.readUInt32LE(LINKED_HEADER.file_count) * LINKED_FILE.size;
  const fixUps = maps + bytes.readUInt32LE(LINKED_HEADER.map_count) * LINKED_MAP.size;
  const watches = fixUps + bytes.readUInt32LE(LINKED_HEADER.fixup_count) * LINKED_FIXUP.size;
  const slide = watches + bytes.readUInt32LE(LINKED_HEADER.watch_count) * LINKED_WATCH.size;
  const flags = bytes.readUInt32LE(LINKED_HEADER.flags);
  const isSlid = (flags & LINKED_SLID) !== 0;
  const strings = isSlid ? slideEnd(bytes, slide, headEnd) : slide;
  if (strings + bytes.readUInt32LE(LINKED_HEADER.strings_size) !== headEnd)
    throw linkedDamaged(path, 'its tables do not fill it');
  if ((flags & ~(LINKED_JOINED | LINKED_SLID | LINKED_PAGE_IN)) !== 0)
    throw linkedDamaged(path, 'it has unknown flags');
  const version = bytes.readUInt32LE(ENVELOPE.version);
  if (version >= LINKED_VERSION_FIXED ? version !== versionFor(flags) : isSlid)
    throw linkedDamaged(path, 'its version knows no slide or no page-in, or has none');
  if (!isSlid && (flags & LINKED_PAGE_IN) !== 0) throw linkedDamaged(path, 'it pages in what does not slide');
  if (files === LINKED_HEADER.size && bytes.readUInt32LE(LINKED_HEADER.reserved) !== 0)
    throw linkedDamaged(path, 'its header is wrong');
  return { bytes, path, files, maps, fixUps, watches, slide, strings, headEnd, pagesOffset };
}

function readLibraryPath(tables: Tables): string | undefined {
  if (tables.files === LINKED_HEADER_SIZE_1) return undefined;
  const at = tables.bytes.readUInt32LE(LINKED_HEADER.library_path);
  return at === LINKED_UNSET ? undefined : text(tables, at);
}

function text({ bytes, path, strings, headEnd }: Tables, offset: number): string {
  const at = strings + offset;
  const zero = at < headEnd ? bytes.indexOf(0, at) : -1;
  if (zero < 0 || zero >= headEnd) throw linkedDamaged(path, 'a path lies outside');
  return bytes.toString('utf8', at, zero);
}

/** The records of a table, one after another. */
function records<Item>(
  { bytes }: Tables,
  from: number,
  end: number,
  size: number,
  read: (record: Buffer) => Item,
): Item[] {
  return Array.from({ length: (end - from) / size }, (_, index) =>
    read(bytes.subarray(from + index * size, from + (index + 1) * size)),
  );
}

function long(record: Buffer, at: number, path: string): number {
  const value = record.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw linkedDamaged(path, 'a number is too large');
  return Number(value);
}

const addressAt = (record: Buffer, at: number, path: string): UserAddress =>
  userAddress(long(record, at, path));

/** What stat says of a path; the fields stand at the same places in files and watches. */
function readStat(record: Buffer, path: string): { size: number; mtimeNs: bigint; inode: bigint } {
  const mtimeNs = readTime(record, LINKED_FILE.mtime_sec, LINKED_FILE.mtime_nsec);
  if (mtimeNs === undefined) throw linkedDamaged(path, 'a file is wrong');
  const inode = record.readBigUInt64LE(LINKED_FILE.inode);
  return { size: long(record, LINKED_FILE.file_size, path), mtimeNs, inode };
}

function readFile(tables: Tables, record: Buffer): PlacedFile {
  const flags = record.readUInt32LE(LINKED_FILE.flags);
  if ((flags & ~LINKED_NOT_MAPPED) !== 0) throw linkedDamaged(tables.path, 'a file has unknown flags');
  const path = text(tables, record.readUInt32LE(LINKED_FILE.path));
  const device = record.readUInt32LE(LINKED_FILE.device);
  return { path, ...readStat(record, tables.path), device, isMapped: flags === 0 };
}

function readSource({ path, pagesOffset }: Tables, record: Buffer): MapSource {
  const from = record.readUInt32LE(LINKED_MAP.from);
  const offset = long(record, LINKED_MAP.offset, path);
  switch (from) {
    case LINKED_FROM_PAGES:
      if (offset < pagesOffset) throw linkedDamaged(path, 'a map shows its head');
      return { kind: 'pages', offset: offset - pagesOffset };
    case LINKED_FROM_NOTHING:
      if (offset !== 0) throw linkedDamaged(path, 'a map without a source has a place in it');
      return { kind: 'zeros' };
    case LINKED_FROM_PROGRAM:
      return { kind: 'program', rva: rva(offset) };
    default:
      return { kind: 'file', index: from, offset };
  }
}

function readMap(tables: Tables, record: Buffer): PlacedMap {
  const bits = record.readUInt32LE(LINKED_MAP.protection);
  if ((bits & ~(PROT_READ | PROT_WRITE | PROT_EXEC)) !== 0)
    throw linkedDamaged(tables.path, 'a map has an unknown protection');
  return {
    at: addressAt(record, LINKED_MAP.at, tables.path),
    size: long(record, LINKED_MAP.map_size, tables.path),
    source: readSource(tables, record),
    protection: {
      read: (bits & PROT_READ) !== 0,
      write: (bits & PROT_WRITE) !== 0,
      execute: (bits & PROT_EXEC) !== 0,
    },
  };
}

const KINDS = new Map<number, string>(Object.entries(FIX_UP_KINDS).map(([kind, number]) => [number, kind]));
/** Words that hold an address. */
const IS_LONG: ReadonlySet<PlacedFixUpKind> = new Set(['in-vdso', 'slid-program', 'slid-rest']);
const isKind = (kind: string | undefined): kind is PlacedFixUpKind =>
  kind !== undefined && kind in FIX_UP_KINDS;

function readFixUp({ path }: Tables, record: Buffer): PlacedFixUp {
  const kind = KINDS.get(record.readUInt32LE(LINKED_FIXUP.kind));
  const size = record.readUInt32LE(LINKED_FIXUP.word_size);
  if (!isKind(kind) || (size !== 4 && size !== 8) || (IS_LONG.has(kind) && size !== 8))
    throw linkedDamaged(path, 'a fix-up is of an unknown kind');
  return { at: addressAt(record, LINKED_FIXUP.at, path), size, kind };
}

function readWatch(tables: Tables, record: Buffer): PlacedWatch {
  const path = text(tables, record.readUInt32LE(LINKED_WATCH.path));
  const kind = record.readUInt32LE(LINKED_WATCH.kind);
  if (record.readUInt32LE(LINKED_WATCH.reserved) !== 0) throw linkedDamaged(tables.path, 'a guard is wrong');
  if (kind === LINKED_UNCHANGED) return { kind: 'unchanged', path, ...readStat(record, tables.path) };
  const isEmpty = record.subarray(LINKED_WATCH.file_size).every((byte) => byte === 0);
  if (kind !== LINKED_ABSENT || !isEmpty) throw linkedDamaged(tables.path, 'a watched path is wrong');
  return { kind: 'absent', path };
}

function readMachine({ bytes, path }: Tables): MachineTraits {
  const size = long(bytes, LINKED_HEADER.vdso_size, path);
  const lead = long(bytes, LINKED_HEADER.vdso_lead, path);
  const checksum = bytes.readBigUInt64LE(LINKED_HEADER.vdso_checksum);
  const isThere = bytes.readBigUInt64LE(LINKED_HEADER.vdso_at) !== 0n;
  if (!isThere && (size !== 0 || lead !== 0 || checksum !== 0n))
    throw linkedDamaged(path, 'the vDSO is there in part');
  return {
    hwcap: bytes.readBigUInt64LE(LINKED_HEADER.hwcap),
    hwcap2: bytes.readBigUInt64LE(LINKED_HEADER.hwcap2),
    minsigstksz: bytes.readBigUInt64LE(LINKED_HEADER.minsigstksz),
    stackLimit: bytes.readBigUInt64LE(LINKED_HEADER.stack_limit),
    clockTick: bytes.readUInt32LE(LINKED_HEADER.clock_tick),
    pageSize: bytes.readUInt32LE(LINKED_HEADER.page_size),
    vdso: isThere ? { lead, size, checksum } : undefined,
  };
}

function readAreas({ bytes, path }: Tables): Pick<PlacedImage, 'robust' | 'rseq'> {
  const robust = addressAt(bytes, LINKED_HEADER.robust_at, path);
  const robustSize = long(bytes, LINKED_HEADER.robust_size, path);
  const rseq = addressAt(bytes, LINKED_HEADER.rseq_at, path);
  const rseqSize = bytes.readUInt32LE(LINKED_HEADER.rseq_size);
  const signature = bytes.readUInt32LE(LINKED_HEADER.rseq_signature);
  if ((robust === 0 && robustSize !== 0) || (rseq === 0 && (rseqSize !== 0 || signature !== 0)))
    throw linkedDamaged(path, 'what is registered with the kernel is there in part');
  return {
    robust: robust === 0 ? undefined : { at: robust, size: robustSize },
    rseq: rseq === 0 ? undefined : { at: rseq, size: rseqSize, signature },
  };
}

/**
 * The image that `bytes` hold; `path` is for errors.
 * @throws WinnowError E_LINKED_TRUNCATED, E_LINKED_DAMAGED, E_LINKED_NEWER
 */
export function decodeLinked(bytes: Uint8Array, path: string): PlacedImage {
  const tables = openTables(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), path);
  const { bytes: all, files, maps, fixUps, watches, slide, strings } = tables;
  const at = (field: number): UserAddress => addressAt(all, field, path);
  const machine = readMachine(tables);
  const processor = decodeProcessor(all.subarray(LINKED_HEADER.processor));
  if (processor === undefined) throw linkedDamaged(path, 'what it says of the processor is wrong');
  const image: PlacedImage = {
    start: at(LINKED_HEADER.start),
    entry: at(LINKED_HEADER.entry),
    phdr: at(LINKED_HEADER.phdr),
    base: at(LINKED_HEADER.base),
    program: {
      at: at(LINKED_HEADER.program_at),
      phdr: rva(at(LINKED_HEADER.program_phdr)),
      first: rva(at(LINKED_HEADER.program_first)),
      size: at(LINKED_HEADER.program_size),
      sum: all.readBigUInt64LE(LINKED_HEADER.program_sum),
    },
    threadPointer: at(LINKED_HEADER.thread_pointer),
    tidAt: at(LINKED_HEADER.tid_at),
    ...readAreas(tables),
    vdsoAt: machine.vdso === undefined ? undefined : at(LINKED_HEADER.vdso_at),
    machine,
    processor,
    libraryPath: readLibraryPath(tables),
    files: records(tables, files, maps, LINKED_FILE.size, (record) => readFile(tables, record)),
    isJoined: (all.readUInt32LE(LINKED_HEADER.flags) & LINKED_JOINED) !== 0,
    maps: records(tables, maps, fixUps, LINKED_MAP.size, (record) => readMap(tables, record)),
    fixUps: records(tables, fixUps, watches, LINKED_FIXUP.size, (record) => readFixUp(tables, record)),
    watches: records(tables, watches, slide, LINKED_WATCH.size, (record) => readWatch(tables, record)),
    slide:
      slide === strings
        ? undefined
        : {
            ...decodeSlide(all.subarray(slide, strings), path),
            pagesIn: (all.readUInt32LE(LINKED_HEADER.flags) & LINKED_PAGE_IN) !== 0,
          },
    pages: all.subarray(tables.pagesOffset),
  };
  const wrong = whatIsWrong(image);
  if (wrong !== undefined) throw linkedDamaged(path, wrong);
  return image;
}
