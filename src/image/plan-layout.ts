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

/** Offsets of the fields, in bytes, and the size of the whole. */
export const ENVELOPE = {
  size: 32,
  magic: 0,
  version: 8,
  head_size: 12,
  total_size: 16,
  head_checksum: 24,
} as const;

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

const PRIME = 0x100000001b3n;

/**
 * FNV-1a over little-endian 64-bit words, as plan_checksum in plan.h. The length must be a multiple of 8.
 *
 * The product is made of 32-bit halves and 16-bit limbs in numbers: BigInt would take 20 ms for 300 KB.
 */
export function planChecksum(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const low32 = Number(PRIME & 0xffffffffn);
  let low = 0x84222325;
  let high = 0xcbf29ce4;
  for (let at = 0; at < bytes.byteLength; at += 8) {
    low = (low ^ view.getUint32(at, true)) >>> 0;
    high = (high ^ view.getUint32(at + 4, true)) >>> 0;
    // PRIME = 2^40 + low32 and low32 < 2^9, so each product below 2^53 is exact.
    const product = low * low32;
    const carry = Math.floor(product / 2 ** 32);
    high = (high * low32 + carry + (low & 0xffffff) * 256) % 2 ** 32;
    low = product % 2 ** 32;
  }
  return (BigInt(high) << 32n) | BigInt(low);
}
