/**
 * The layout of prelink.bin: TypeScript's side of runtime/prelink.h. `prelinked-layout.test.ts` compiles that header and
 * compares every size, offset and constant.
 */

export const PRELINK_MAGIC = 0x4b4c776f6e6e6977n;
export const PRELINK_VERSION = 1;
export const PRELINK_PROGRAMS_MAX = 4096;
/** Of one program. */
export const PRELINK_MODULES_MAX = 1024;
export const PRELINK_ALL_MODULES_MAX = 2 ** 17;
export const PRELINK_SIZE_MAX = 2 ** 24;

/** Why a program started without its copies, by their numbers in prelink.misses from 1 on, and what the index counts. */
export const PRELINK_MISSES = [
  { cause: 'environment', about: 'program' },
  { cause: 'file', about: 'module' },
  { cause: 'copy', about: 'module' },
  { cause: 'area', about: 'program' },
  { cause: 'module', about: 'module' },
] as const;

/** Offsets of the fields, in bytes, and the size of the whole. */
export const PRELINK_HEADER = {
  size: 48,
  program_count: 32,
  module_count: 36,
  strings_size: 40,
  reserved: 44,
} as const;

export const PRELINK_PROGRAM = {
  size: 56,
  file_size: 0,
  mtime_sec: 8,
  mtime_nsec: 16,
  module_first: 20,
  inode: 24,
  area: 32,
  area_size: 40,
  module_count: 48,
  reserved: 52,
} as const;

export const PRELINK_MODULE = {
  size: 56,
  path: 0,
  copy: 4,
  file_size: 8,
  mtime_sec: 16,
  mtime_nsec: 24,
  reserved: 28,
  inode: 32,
  copy_size: 40,
  dynamic: 48,
} as const;
