/**
 * The layout of NN-NAME.cold: TypeScript's side of runtime/cold.h. `cold-layout.test.ts` compiles that header and
 * compares every size, offset and constant. The first 32 bytes are plan.bin's envelope.
 */

/** Behind a module's name: the file with its unused code, or what is to be done where that is come to. */
export const COLD_ENDING = '.cold';

export const COLD_MAGIC = 0x4f43776f6e6e6977n;
export const COLD_VERSION = 2;
export const COLD_CHUNK = 65536;
export const COLD_REACH = 2 ** 26;
export const COLD_RANGES_MAX = 16;
export const COLD_HIDDEN_MAX = 64;
export const COLD_SIZE_MAX = 2 ** 30;
export const COLD_STORED = 1;
export const COLD_LOG = 2;
export const COLD_RANGE_CODE = 1;

/** Offsets of the fields, in bytes, and the size of the whole. */
export const COLD_HEADER = {
  size: 56,
  magic: 0,
  version: 8,
  head_size: 12,
  total_size: 16,
  head_checksum: 24,
  module_size: 32,
  flags: 40,
  range_count: 44,
  chunk_count: 48,
  hidden_count: 52,
} as const;

/** Where the checksummed part of the head begins. */
export const COLD_CHECKED_FROM = 32;

export const COLD_RANGE = { size: 16, start: 0, end: 4, first_chunk: 8, flags: 12 } as const;

export const COLD_HIDDEN = { size: 8, start: 0, end: 4 } as const;

export const COLD_CHUNK_ROW = { size: 16, offset: 0, chunk_size: 4, checksum: 8 } as const;
