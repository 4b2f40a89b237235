/** Reads plan.bin back, for `image show`. The launcher reads the same bytes in place. */
import { pageIndex, pagesIn } from '../base/brands.ts';
import type { PlannedFile, PlannedLookup, PrefetchPlan, Probe, Task } from '../prefetch/model.ts';
import type { Extent } from '../profile/model.ts';
import { planDamaged, planNewer, planTruncated } from './plan-errors.ts';
import {
  ENVELOPE,
  EXTENT,
  FILE,
  HEADER,
  LOOKUP,
  PLAN_CHUNK_MAX,
  PLAN_HEAD_MAX,
  PLAN_MAGIC,
  PLAN_PROBES_MAX,
  PLAN_SIZE_MAX,
  PLAN_TASK_FILE,
  PLAN_TASK_LOOKUPS,
  PLAN_VERSION,
  PLAN_WORKERS_MAX,
  PROBE,
  planChecksum,
  TASK,
} from './plan-layout.ts';

const NS = 1_000_000_000n;

interface Tables {
  readonly bytes: Buffer;
  /** Names the file in errors. */
  readonly path: string;
  readonly files: number;
  readonly extents: number;
  readonly lookups: number;
  readonly tasks: number;
  readonly strings: number;
}

/** Sizes and checksums; what is not as written is an error. */
function openTables(bytes: Buffer, path: string): Tables {
  if (bytes.length < ENVELOPE.size) throw planTruncated(path);
  if (bytes.readBigUInt64LE(ENVELOPE.magic) !== PLAN_MAGIC)
    throw planDamaged(path, 'it does not begin as one');
  const version = bytes.readUInt32LE(ENVELOPE.version);
  if (version > PLAN_VERSION) throw planNewer(path, version, PLAN_VERSION);
  if (version !== PLAN_VERSION) throw planDamaged(path, `there is no version ${version}`);
  const total = bytes.readBigUInt64LE(ENVELOPE.total_size);
  if (total > BigInt(bytes.length) && total <= BigInt(PLAN_SIZE_MAX)) throw planTruncated(path);
  if (total !== BigInt(bytes.length)) throw planDamaged(path, 'its size is wrong');
  const head = bytes.readUInt32LE(ENVELOPE.head_size);
  const isWhole = bytes.length % 8 === 0 && head % 8 === 0;
  if (!isWhole || head < HEADER.size || head > Math.min(PLAN_HEAD_MAX, bytes.length)) {
    throw planDamaged(path, 'the size of its head is wrong');
  }
  if (planChecksum(bytes.subarray(ENVELOPE.size, head)) !== bytes.readBigUInt64LE(ENVELOPE.head_checksum)) {
    throw planDamaged(path, 'the checksum of its head is wrong');
  }
  if (planChecksum(bytes.subarray(head)) !== bytes.readBigUInt64LE(HEADER.body_checksum)) {
    throw planDamaged(path, 'the checksum of its body is wrong');
  }
  const files = head;
  const extents = files + bytes.readUInt32LE(HEADER.file_count) * FILE.size;
  const lookups = extents + bytes.readUInt32LE(HEADER.extent_count) * EXTENT.size;
  const tasks = lookups + bytes.readUInt32LE(HEADER.lookup_count) * LOOKUP.size;
  const strings = tasks + bytes.readUInt32LE(HEADER.task_count) * TASK.size;
  if (strings + bytes.readUInt32LE(HEADER.strings_size) !== bytes.length) {
    throw planDamaged(path, 'its tables do not fill it');
  }
  return { bytes, path, files, extents, lookups, tasks, strings };
}

/** A string that begins at `at` and ends before `end`. */
function text({ bytes, path }: Tables, at: number, from: number, end: number): string {
  const zero = at < from || at >= end ? -1 : bytes.indexOf(0, at);
  if (zero < 0 || zero >= end) throw planDamaged(path, 'a path lies outside');
  return bytes.toString('utf8', at, zero);
}

function readProbes(tables: Tables): Probe[] {
  const { bytes, path, files: head } = tables;
  const count = bytes.readUInt32LE(HEADER.probe_count);
  const strings = HEADER.size + count * PROBE.size;
  if (count > PLAN_PROBES_MAX || strings > head) throw planDamaged(path, 'it has too many probes');
  return Array.from({ length: count }, (_, index) => {
    const at = HEADER.size + index * PROBE.size;
    const where = bytes.readUInt32LE(at + PROBE.path);
    return { path: text(tables, where, strings, head), page: bytes.readUInt32LE(at + PROBE.page) };
  });
}

function readExtents(tables: Tables, first: number, count: number, size: number): Extent[] {
  const { bytes, path, extents, lookups } = tables;
  const from = extents + first * EXTENT.size;
  if (from + count * EXTENT.size > lookups) throw planDamaged(path, 'extents lie outside');
  let end = -1;
  return Array.from({ length: count }, (_, index) => {
    const page = bytes.readUInt32LE(from + index * EXTENT.size + EXTENT.page);
    const pages = bytes.readUInt32LE(from + index * EXTENT.size + EXTENT.count);
    if (page <= end || pages < 1 || page + pages > pagesIn(size))
      throw planDamaged(path, 'an extent is wrong');
    end = page + pages;
    return { page: pageIndex(page), count: pages };
  });
}

function readFile(tables: Tables, index: number, extentFirst: number): PlannedFile {
  const { bytes, path } = tables;
  const at = tables.files + index * FILE.size;
  const size = bytes.readBigUInt64LE(at + FILE.file_size);
  const nsec = bytes.readUInt32LE(at + FILE.mtime_nsec);
  const chunkPages = bytes.readUInt32LE(at + FILE.chunk_pages);
  const isGood = size <= BigInt(Number.MAX_SAFE_INTEGER) && nsec < Number(NS);
  if (!isGood || chunkPages < 1 || chunkPages > PLAN_CHUNK_MAX) throw planDamaged(path, 'a file is wrong');
  if (bytes.readUInt32LE(at + FILE.extent_first) !== extentFirst) {
    throw planDamaged(path, 'extents belong to no file');
  }
  return {
    path: text(tables, tables.strings + bytes.readUInt32LE(at + FILE.path), tables.strings, bytes.length),
    size: Number(size),
    mtimeNs: bytes.readBigInt64LE(at + FILE.mtime_sec) * NS + BigInt(nsec),
    inode: bytes.readBigUInt64LE(at + FILE.inode),
    chunkPages,
    extents: readExtents(tables, extentFirst, bytes.readUInt32LE(at + FILE.extent_count), Number(size)),
  };
}

function readFiles(tables: Tables): { files: PlannedFile[]; firstExtents: number[] } {
  const files: PlannedFile[] = [];
  const firstExtents: number[] = [];
  let extents = 0;
  for (let index = 0; index < tables.bytes.readUInt32LE(HEADER.file_count); index += 1) {
    const file = readFile(tables, index, extents);
    files.push(file);
    firstExtents.push(extents);
    extents += file.extents.length;
  }
  if (extents !== tables.bytes.readUInt32LE(HEADER.extent_count)) {
    throw planDamaged(tables.path, 'extents belong to no file');
  }
  return { files, firstExtents };
}

function readLookups(tables: Tables): PlannedLookup[] {
  const { bytes, lookups, strings } = tables;
  return Array.from({ length: bytes.readUInt32LE(HEADER.lookup_count) }, (_, index) => {
    const at = lookups + index * LOOKUP.size;
    const path = text(tables, strings + bytes.readUInt32LE(at + LOOKUP.path), strings, bytes.length);
    return { path, found: bytes.readUInt32LE(at + LOOKUP.found) === 1 };
  });
}

function readTask(
  tables: Tables,
  index: number,
  files: readonly PlannedFile[],
  firsts: readonly number[],
): Task {
  const { bytes, path } = tables;
  const at = tables.tasks + index * TASK.size;
  const kind = bytes.readUInt32LE(at + TASK.kind);
  const first = bytes.readUInt32LE(at + TASK.first);
  const count = bytes.readUInt32LE(at + TASK.count);
  const file = bytes.readUInt32LE(at + TASK.file);
  if (kind === PLAN_TASK_LOOKUPS) {
    if (first + count > bytes.readUInt32LE(HEADER.lookup_count)) throw planDamaged(path, 'a task is wrong');
    return { kind: 'lookups', first, count };
  }
  const own = files[file];
  const base = firsts[file];
  const isFile = kind === PLAN_TASK_FILE && own !== undefined && base !== undefined;
  if (!isFile || first < base || first + count > base + own.extents.length) {
    throw planDamaged(path, 'a task is wrong');
  }
  return { kind: 'file', file, first: first - base, count };
}

/**
 * The plan that `bytes` hold; `path` is for errors.
 * @throws WinnowError E_PLAN_TRUNCATED, E_PLAN_DAMAGED, E_PLAN_NEWER
 */
export function decodePlan(bytes: Uint8Array, path: string): PrefetchPlan {
  const tables = openTables(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), path);
  const workers = tables.bytes.readUInt32LE(HEADER.workers);
  if (workers < 1 || workers > PLAN_WORKERS_MAX) throw planDamaged(path, 'the number of workers is wrong');
  const { files, firstExtents } = readFiles(tables);
  const tasks = Array.from({ length: tables.bytes.readUInt32LE(HEADER.task_count) }, (_, index) =>
    readTask(tables, index, files, firstExtents),
  );
  return { workers, files, lookups: readLookups(tables), tasks, probes: readProbes(tables) };
}
