/**
 * The layout of plan.bin: TypeScript's side of runtime/plan.h. `plan-layout.test.ts` compiles that header
 * and compares every size, offset and constant.
 */

export const PLAN_MAGIC = 0x4c50776f6e6e6977n;
export const PLAN_VERSION = 1;
export const PLAN_HEAD_MAX = 8192;
export const PLAN_PROBES_MAX = 120;
export const PLAN_WORKERS_MAX = 16;
export const PLAN_CHUNK_MAX = 4096;
export const PLAN_SIZE_MAX = 2 ** 30;
export const PLAN_TASK_FILE = 0;
export const PLAN_TASK_LOOKUPS = 1;
export const PLAN_MISS_GONE = 1;
export const PLAN_MISS_CHANGED = 2;

/** Offsets of the fields, in bytes, and the size of the whole. */
export const HEADER = {
  size: 72,
  body_checksum: 32,
  probe_count: 40,
  workers: 44,
  file_count: 48,
  extent_count: 52,
  lookup_count: 56,
  task_count: 60,
  strings_size: 64,
  reserved: 68,
} as const;

export const PROBE = { size: 8, path: 0, page: 4 } as const;

export const FILE = {
  size: 48,
  path: 0,
  chunk_pages: 4,
  file_size: 8,
  mtime_sec: 16,
  mtime_nsec: 24,
  reserved: 28,
  inode: 32,
  extent_first: 40,
  extent_count: 44,
} as const;

export const EXTENT = { size: 8, page: 0, count: 4 } as const;

export const LOOKUP = { size: 8, path: 0, found: 4 } as const;

export const TASK = { size: 16, kind: 0, file: 4, first: 8, count: 12 } as const;

export { planChecksum } from '../base/checksum.ts';
export { ENVELOPE } from '../base/envelope.ts';
