/**
 * The layout of modules.bin: TypeScript's side of runtime/modules.h. `modules-layout.test.ts` compiles that
 * header and compares every size, offset and constant. The first 32 bytes are plan.bin's ENVELOPE.
 */

export const MODULES_MAGIC = 0x4f4d776f6e6e6977n;
export const MODULES_VERSION = 2;
/** What is written where no program is linked. */
export const MODULES_VERSION_PLAIN = 1;
export const MODULES_MAX = 4096;
export const MODULES_SIZE_MAX = 2 ** 22;

/** By their numbers in the file. */
export const SHOW_MODES = ['auto', 'mounts', 'user-mounts', 'audit', 'plain'] as const;
/** By their numbers: what becomes of unused code. */
export const COLD_MODES = ['file', 'deny', 'store'] as const;
export const MODULE_ROLES = ['library', 'program', 'interpreter'] as const;
export const MODULE_ROLE = 3;
export const MODULE_USES_ORIGIN = 4;
export const MODULE_LINKED = 8;
export const MODULE_BY_ANY_NAME = 16;

/** Offsets of the fields, in bytes, and the size of the whole. */
export const MODULES_HEADER = { size: 48, show: 32, count: 36, strings_size: 40, cold: 44 } as const;

export const MODULES_ENTRY = {
  size: 48,
  path: 0,
  replacement: 4,
  file_size: 8,
  mtime_sec: 16,
  mtime_nsec: 24,
  flags: 28,
  inode: 32,
  replacement_size: 40,
} as const;
