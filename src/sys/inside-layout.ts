/** TypeScript's side of runtime/inside.h; `inside-layout.test.ts` compiles that header and compares. */

export const INSIDE_MAGIC = 0x656469736e697777n;
export const INSIDE_VERSION = 2;
export const INSIDE_CHUNK = 65536;
export const INSIDE_CHUNKS_MAX = 4096;
export const INSIDE_SITES_MAX = 112;
export const INSIDE_MODULES_MAX = 2;
export const INSIDE_DESCRIPTORS = 256;
export const INSIDE_WORD = 0x77696e6e;

export const SITE_RESULT = 0;
export const SITE_RESULT_STRICT = 1;
export const SITE_RESULT_SHORT = 2;
export const SITE_MUNMAP = 3;
export const SITE_SYSCALL = 4;
export const SITE_SYSCALL_END = 5;
export const SITE_EXIT = 6;

export const ENTRY_MARK = 0x77690000;
export const ENTRY_STARTED = 1;
export const ENTRY_FORKED = 2;
export const ENTRY_CALL = 3;
export const ENTRY_EXEC = 4;
export const ENTRY_PIECE = 5;
export const ENTRY_TABLE = 6;
export const ENTRY_HELD = 7;
export const ENTRY_UNSEEN = 8;
export const ENTRY_MAPS = 9;
export const ENTRY_PAGES = 10;
export const ENTRY_SEEN = 11;
export const ENTRY_DUPLICATED = 12;
export const SEEN_EXIT = 1;
export const SEEN_EXEC = 2;
export const SEEN_EXEC_BORROWED = 3;
export const SEEN_LOOK = 4;

/** Offsets of the fields, in bytes, and the size of the whole. */
export const SITE = { size: 16, rva: 0, call: 8, kind: 12 } as const;

export const MODULE = {
  size: 48,
  device: 0,
  inode: 8,
  bytes: 16,
  seconds: 24,
  nanoseconds: 32,
  first: 40,
  count: 44,
} as const;

export const SITES = {
  size: 16 + 2 * 48 + 112 * 16,
  magic: 0,
  version: 8,
  modules_count: 12,
  modules: 16,
  sites: 112,
} as const;

export const HEADER = {
  size: 32,
  magic: 0,
  version: 8,
  chunk: 12,
  sequence: 16,
  lost: 24,
  watcher: 28,
} as const;

export const CHUNK = { size: 8, used: 0 } as const;

export const ENTRY = {
  size: 56,
  entry_size: 0,
  kind: 4,
  sequence: 8,
  process: 16,
  call: 20,
  result: 24,
  first: 32,
  second: 40,
  length: 48,
  by_loader: 52,
} as const;

export const READING = { size: 24, opened: 0, from: 8, at: 16 } as const;
