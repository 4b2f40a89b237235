/**
 * Which system calls the recorder is told of, and only at their entry: whether a path was found is seen
 * afterwards on the file system, so one notice does for one look-up.
 *
 * Left out: readlink (a path's components are looked up by whatever uses the path), fstat in its
 * disguise of newfstatat with AT_EMPTY_PATH, and the loader's reservations (MAP_DENYWRITE, read-only):
 * the writable part of a library is mapped last, and its notice covers the whole library. Every munmap is
 * told: the filter cannot know which addresses belong to files, and programs rarely call it.
 */

import { assembleFilter, SECCOMP_RET_USER_NOTIF, type Trap } from '../sys/bpf.ts';
import { INSIDE_WORD } from '../sys/inside-layout.ts';

export const SYS = {
  open: 2,
  stat: 4,
  lstat: 6,
  lseek: 8,
  mmap: 9,
  munmap: 11,
  rt_sigaction: 13,
  pread64: 17,
  access: 21,
  execve: 59,
  kill: 62,
  flock: 73,
  exitGroup: 231,
  openat: 257,
  newfstatat: 262,
  faccessat: 269,
  execveat: 322,
  userfaultfd: 323,
  statx: 332,
  openat2: 437,
  faccessat2: 439,
} as const;

const AT_EMPTY_PATH = 0x1000;
const MAP_ANONYMOUS = 0x20;
const MAP_DENYWRITE = 0x800;
const PROT_WRITE = 2;
const PROT_EXEC = 4;

/** Reads before this offset are not followed: files up to this size count whole (`file-use.ts`). */
export const SMALL_FILE = 65536;

const TRAPS: readonly Trap[] = [
  { nr: SYS.openat },
  { nr: SYS.newfstatat, when: [[{ kind: 'no-bit', arg: 3, bits: AT_EMPTY_PATH }]] },
  { nr: SYS.access },
  { nr: SYS.faccessat },
  { nr: SYS.faccessat2 },
  { nr: SYS.stat },
  { nr: SYS.lstat },
  { nr: SYS.open },
  { nr: SYS.openat2 },
  { nr: SYS.statx, when: [[{ kind: 'no-bit', arg: 2, bits: AT_EMPTY_PATH }]] },
  { nr: SYS.execve },
  { nr: SYS.execveat },
  {
    nr: SYS.lseek,
    when: [
      [{ kind: 'any-bit', arg: 1, bits: 0xffff0000 }],
      // Back to the start, to read it all after a look at the end.
      [
        { kind: 'equals', arg: 1, value: 0 },
        { kind: 'equals', arg: 2, value: 0 },
      ],
    ],
  },
  { nr: SYS.munmap },
  { nr: SYS.flock },
  { nr: SYS.pread64, when: [[{ kind: 'any-bit', arg: 3, bits: 0xffff0000 }]] },
];

/** Mappings of files with one of these protections, and all that are not the loader's reservations. */
const mappingTrap = (protections: number): Trap => ({
  nr: SYS.mmap,
  when: [
    [
      { kind: 'no-bit', arg: 3, bits: MAP_ANONYMOUS },
      { kind: 'any-bit', arg: 2, bits: protections },
    ],
    [
      { kind: 'no-bit', arg: 3, bits: MAP_ANONYMOUS | MAP_DENYWRITE },
      { kind: 'any-bit', arg: 2, bits: 0xffffffff },
    ],
  ],
});

/**
 * In the fifth argument of sigaction, which has four: the call is ours, made for a tracee while nobody
 * can answer a notice.
 */
export const OWN_CALL = 0x77696e6e;

/** A handler for SIGTRAP: breakpoints and the program's own handler must get along. */
const HANDLER_TRAP: Trap = {
  nr: SYS.rt_sigaction,
  when: [
    [
      { kind: 'equals', arg: 0, value: 5 },
      { kind: 'differs', arg: 4, value: OWN_CALL },
    ],
  ],
};

/** struct sock_filter instructions. */
export function recorderFilter(options: { readonly arrivals: boolean }): Buffer {
  // With module arrivals, every executable mapping of a file is a notice of its own.
  const traps = options.arrivals
    ? [...TRAPS, HANDLER_TRAP, mappingTrap(PROT_WRITE | PROT_EXEC)]
    : [...TRAPS, mappingTrap(PROT_WRITE)];
  return assembleFilter(traps, SECCOMP_RET_USER_NOTIF);
}

const MEMORY_ENDS: readonly Trap[] = [{ nr: SYS.execve }, { nr: SYS.execveat }, { nr: SYS.exitGroup }];
/** Not where the process has looked at itself, which it says in an argument that the call does not have. */
const UNSEEN_ENDS: readonly Trap[] = [
  { nr: SYS.execve, when: [[{ kind: 'differs', arg: 3, value: INSIDE_WORD }]] },
  { nr: SYS.execveat },
  { nr: SYS.exitGroup, when: [[{ kind: 'differs', arg: 1, value: INSIDE_WORD }]] },
];
const WORD: Trap = { nr: SYS.userfaultfd, when: [[{ kind: 'equals', arg: 0, value: INSIDE_WORD }]] };

/**
 * The filter of a light recording: only where a memory is about to go. Other calls have one answer whatever
 * their arguments, which the kernel (since 5.11) keeps in a bitmap and gives without running the filter.
 */
export const lightFilter = (): Buffer => assembleFilter(MEMORY_ENDS, SECCOMP_RET_USER_NOTIF);

/** The same for a recording from inside, whose object has words with the watcher. */
export const insideFilter = (): Buffer => assembleFilter([...UNSEEN_ENDS, WORD], SECCOMP_RET_USER_NOTIF);
