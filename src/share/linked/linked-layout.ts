/**
 * The layout of NAME.linked: TypeScript's side of runtime/share.h. `linked-layout.test.ts` compiles that header and
 * compares every size, offset and constant.
 */
import type { PlacedFixUpKind, SlidInto } from './linked-model.ts';

export const LINKED_MAGIC = 0x4e4c776f6e6e6977n;
export const LINKED_VERSION = 4;
/** Without page-in. */
export const LINKED_VERSION_SLID = 3;
/** Without a slide. */
export const LINKED_VERSION_FIXED = 2;
export const LINKED_HEAD_MAX = 2 ** 20;
export const LINKED_FILES_MAX = 4096;
export const LINKED_MAPS_MAX = 32_768;
export const LINKED_FIXUPS_MAX = 256;
export const LINKED_WATCHES_MAX = 8192;

export const LINKED_FROM_PAGES = 0xffffffff;
export const LINKED_FROM_NOTHING = 0xfffffffe;
export const LINKED_FROM_PROGRAM = 0xfffffffd;
export const LINKED_NOT_MAPPED = 1;
export const LINKED_JOINED = 1;
export const LINKED_UNSET = 0xffffffff;
export const LINKED_SLID = 2;
export const LINKED_PAGE_IN = 4;
export const LINKED_ABSENT = 1;
export const LINKED_UNCHANGED = 2;

export const LINKED_NOTE_NAME = 'winnow';
export const LINKED_NOTE_TYPE = 0x4e4c;
export const LINKED_NOTE_PATH = 4096;

/** PROT_… of mmap(2). */
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;

/** Their numbers in the file; 13 is reserved. */
export const FIX_UP_KINDS: Readonly<Record<PlacedFixUpKind, number>> = {
  'stack-guard': 1,
  'pointer-guard': 2,
  argc: 3,
  argv: 4,
  envp: 5,
  auxv: 6,
  random: 7,
  platform: 8,
  execfn: 9,
  'stack-start': 10,
  break: 11,
  tid: 12,
  'cpu-number': 14,
  'in-vdso': 15,
  'thread-stack': 16,
  'slid-program': 17,
  'slid-rest': 18,
};

/** By their numbers: why restore.c would not use an image. */
export const REFUSALS = [
  'good',
  'environment',
  'secure',
  'kernel',
  'stack',
  'processor',
  'vdso',
  'image',
  'program',
  'file',
  'watch',
  'address',
  'call',
  'debugger',
  'filter',
] as const;

/** Version 1 had no `library_path` and `reserved`. */
export const LINKED_HEADER_SIZE_1 = 312;

/** Offsets of the fields, in bytes, and the size of the whole; the envelope is ENVELOPE of ../base/envelope.ts. */
export const PROCESSOR = {
  size: 40,
  leaf1_eax: 0,
  leaf1_ebx: 4,
  leaf1_ecx: 8,
  leaf1_edx: 12,
  leaf7_ebx: 16,
  leaf7_ecx: 20,
  leaf7_edx: 24,
  reserved: 28,
  xcr0: 32,
} as const;

export const LINKED_HEADER = {
  size: 320,
  pages_offset: 32,
  pages_size: 40,
  pages_checksum: 48,
  start: 56,
  entry: 64,
  phdr: 72,
  base: 80,
  program_at: 88,
  program_phdr: 96,
  program_first: 104,
  program_size: 112,
  program_sum: 120,
  thread_pointer: 128,
  tid_at: 136,
  robust_at: 144,
  robust_size: 152,
  rseq_at: 160,
  rseq_size: 168,
  rseq_signature: 172,
  vdso_at: 176,
  vdso_lead: 184,
  vdso_size: 192,
  vdso_checksum: 200,
  hwcap: 208,
  hwcap2: 216,
  minsigstksz: 224,
  stack_limit: 232,
  clock_tick: 240,
  page_size: 244,
  processor: 248,
  file_count: 288,
  map_count: 292,
  fixup_count: 296,
  watch_count: 300,
  strings_size: 304,
  flags: 308,
  library_path: 312,
  reserved: 316,
} as const;

export const LINKED_FILE = {
  size: 40,
  path: 0,
  flags: 4,
  file_size: 8,
  mtime_sec: 16,
  mtime_nsec: 24,
  device: 28,
  inode: 32,
} as const;

export const LINKED_MAP = { size: 32, at: 0, map_size: 8, offset: 16, from: 24, protection: 28 } as const;

export const LINKED_FIXUP = { size: 16, at: 0, kind: 8, word_size: 12 } as const;

export const LINKED_WATCH = {
  size: 40,
  path: 0,
  kind: 4,
  file_size: 8,
  mtime_sec: 16,
  mtime_nsec: 24,
  reserved: 28,
  inode: 32,
} as const;

/** LINKED_INTO_… by what words point into. */
export const SLID_INTO: Readonly<Record<SlidInto, number>> = { program: 0, rest: 1 };

export const LINKED_SLIDE = {
  size: 40,
  program_unit: 0,
  program_places: 8,
  unit: 16,
  places: 24,
  page_count: 32,
  reserved: 36,
} as const;

export const LINKED_SLID_PAGE = { size: 80, at: 0, into: 8, reserved: 12, words: 16 } as const;

export const LINKED_ANSWER = { size: 48, refused: 0, index: 4, processor: 8 } as const;

/** The version that has what the flags say. */
export function versionFor(flags: number): number {
  if ((flags & LINKED_PAGE_IN) !== 0) return LINKED_VERSION;
  return (flags & LINKED_SLID) !== 0 ? LINKED_VERSION_SLID : LINKED_VERSION_FIXED;
}
