/**
 * Where glibc's loader and libc come back from the system calls that tell of look-ups, reads and mappings.
 *
 * Problem: inside.so turns the comparison behind a `syscall` into a jump (runtime/inside-sites.c). That is right only
 * where it is known which call it was, and where nothing else leads to the comparison.
 * Example: `b8 01 01 00 00 | 0f 05 | 48 3d 00 f0 ff ff` (mov $257, %eax; syscall; cmp $-4096, %rax) is a site of openat.
 * Method: `0f 05` in front of a comparison is looked for in the bytes; the function around it (its FDE) is decoded;
 * going back from the call, the first instruction that writes rax must be a mov of a wanted number (or xor, for
 * read), with no branch between them, in or out. No branch of the module may lead behind the call.
 * Limits: calls whose number comes by another register, and those that compare in another way, are not seen: libc has none
 * among the wanted ones but in rarely used functions (if_indextoname).
 */
import { PAGE_SIZE, rva } from '../../base/brands.ts';
import { readEhFrame } from '../../elf/eh-frame.ts';
import type { ElfImage } from '../../elf/image.ts';
import { fileBytesAt } from '../../elf/memory.ts';
import * as layout from '../../sys/inside-layout.ts';
import { decodeRange } from '../../x86/decode.ts';
import { OperationReader } from '../../x86/operations.ts';
import { SYS } from '../filter.ts';

export interface Site {
  readonly rva: number;
  readonly call: number;
  readonly kind: number;
}

/** Of the loader: how it searches and maps libraries. */
export const LOADER_CALLS: ReadonlySet<number> = new Set([SYS.mmap, SYS.openat, SYS.newfstatat]);

const READ = 0;
const CLOSE = 3;
/** Of libc: what is looked up, read, mapped, and what becomes of descriptors, folders and memories. */
export const LIBC_CALLS: ReadonlySet<number> = new Set([
  ...LOADER_CALLS,
  SYS.access,
  READ,
  SYS.open,
  CLOSE,
  SYS.stat,
  SYS.lstat,
  SYS.lseek,
  SYS.pread64,
  19, // readv
  32, // dup
  33, // dup2
  40, // sendfile
  56, // clone: fork's
  72, // fcntl
  80, // chdir
  81, // fchdir
  157, // prctl
  SYS.faccessat,
  292, // dup3
  326, // copy_file_range
  SYS.statx,
  SYS.openat2,
  SYS.exitGroup,
  SYS.faccessat2,
]);

/** Without these a recording from inside would miss too much. */
export const NEEDED: ReadonlySet<number> = new Set([READ, SYS.openat, SYS.newfstatat, SYS.mmap, SYS.lseek]);

const SYSCALL_BYTES = [0x0f, 0x05];
const COMPARISONS: readonly { readonly kind: number; readonly bytes: readonly number[] }[] = [
  { kind: layout.SITE_RESULT, bytes: [0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff] },
  { kind: layout.SITE_RESULT_STRICT, bytes: [0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff] },
  { kind: layout.SITE_RESULT_SHORT, bytes: [0x3d, 0x00, 0xf0, 0xff, 0xff] },
];
const MUNMAP = [0xb8, 0x0b, 0x00, 0x00, 0x00, 0x0f, 0x05];
const ENDBR64 = [0xf3, 0x0f, 0x1e, 0xfa];
/** The whole of `long syscall(long number, ...)` up to its comparison: six moves and the call. */
const SYSCALL_FUNCTION = [
  ...[0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca],
  ...[0x4d, 0x89, 0xc2, 0x4d, 0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05],
  ...[0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff],
];
const RAX = 0;
/** Instructions between a number and its call, at most. */
const NEAR = 12;

/**
 * The sites of a module, ascending.
 *
 * @throws WinnowError what readEhFrame throws.
 */
export function findSites(image: ElfImage, wanted: ReadonlySet<number>): Site[] {
  const candidates: { readonly call: number; readonly kind: number; readonly range: Range }[] = [];
  const sites: Site[] = [];
  const ranges = rangesOf(image);
  for (const range of ranges) {
    sites.push(...sitesAtStart(range));
    for (const { at, kind } of comparisonsIn(range.bytes)) {
      candidates.push({ call: range.start + at - SYSCALL_BYTES.length, kind, range });
    }
  }
  const targets = targetsIn(ranges, new Set(candidates.map(({ call }) => call + SYSCALL_BYTES.length)));
  const exit = exitOf(image);
  if (exit !== undefined && wanted.has(SYS.exitGroup) && ranges.some(({ start }) => start === exit)) {
    sites.push({ rva: exit, call: SYS.exitGroup, kind: layout.SITE_EXIT });
  }
  for (const { call, kind, range } of candidates) {
    const after = call + SYSCALL_BYTES.length;
    const number = targets.has(after) ? undefined : numberOf(range, call);
    if (number !== undefined && wanted.has(number)) sites.push({ rva: after, call: number, kind });
  }
  return withoutLonely(sites).sort((a, b) => a.rva - b.rva);
}

/** libc's `_exit`. */
function exitOf(image: ElfImage): number | undefined {
  return image.symbols.find(({ name }) => name === '_exit')?.rva;
}

/** A page is written to for each process: not for a close that is the only site in it. */
function withoutLonely(sites: readonly Site[]): Site[] {
  const pageOf = ({ rva }: Site): number => Math.floor(rva / PAGE_SIZE);
  const worthIt = new Set(sites.filter(({ call }) => call !== CLOSE).map(pageOf));
  return sites.filter((site) => worthIt.has(pageOf(site)));
}

interface Range {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** Functions, by their FDEs. */
function rangesOf(image: ElfImage): Range[] {
  const ranges: Range[] = [];
  for (const { start, end } of readEhFrame(image).fdes) {
    const view = end > start ? fileBytesAt(image, rva(start)) : undefined;
    if (view === undefined || view.byteLength < end - start) continue;
    ranges.push({ start, bytes: new Uint8Array(view.buffer, view.byteOffset, end - start) });
  }
  return ranges;
}

const standsAt = (bytes: Uint8Array, at: number, wanted: readonly number[]): boolean =>
  wanted.every((byte, index) => bytes[at + index] === byte);

function sitesAtStart({ start, bytes }: Range): Site[] {
  const at = standsAt(bytes, 0, ENDBR64) ? ENDBR64.length : 0;
  if (standsAt(bytes, at, MUNMAP)) {
    return [{ rva: start + at, call: SYS.munmap, kind: layout.SITE_MUNMAP }];
  }
  if (!standsAt(bytes, at, SYSCALL_FUNCTION)) return [];
  const comparison = start + at + SYSCALL_FUNCTION.length - 6;
  return [
    { rva: start + at, call: 0, kind: layout.SITE_SYSCALL },
    { rva: comparison, call: 0, kind: layout.SITE_SYSCALL_END },
  ];
}

function comparisonsIn(bytes: Uint8Array): { readonly at: number; readonly kind: number }[] {
  const found: { readonly at: number; readonly kind: number }[] = [];
  for (
    let at = bytes.indexOf(SYSCALL_BYTES[0] ?? 0);
    at >= 0;
    at = bytes.indexOf(SYSCALL_BYTES[0] ?? 0, at + 1)
  ) {
    if (!standsAt(bytes, at, SYSCALL_BYTES)) continue;
    const after = at + SYSCALL_BYTES.length;
    const kind = COMPARISONS.find((one) => standsAt(bytes, after, one.bytes))?.kind;
    if (kind !== undefined) found.push({ at: after, kind });
  }
  return found;
}

/** Which of `places` a branch of the module leads to. */
function targetsIn(ranges: readonly Range[], places: ReadonlySet<number>): Set<number> {
  const targets = new Set<number>();
  for (const { start, bytes } of ranges) {
    decodeRange(bytes, start, ({ target }) => {
      if (places.has(target)) targets.add(target);
    });
  }
  return targets;
}

/** The number in rax at a `syscall`, where only one can be. */
function numberOf({ start, bytes }: Range, call: number): number | undefined {
  const before: number[] = [];
  const targets = new Set<number>();
  let isThere = false;
  decodeRange(bytes, start, ({ at, target }) => {
    if (at < call) before.push(at);
    isThere ||= at === call;
    if (target >= 0) targets.add(target);
  });
  if (!isThere || targets.has(call)) return undefined;
  const reader = new OperationReader(bytes, start);
  try {
    for (const at of before.slice(-NEAR).reverse()) {
      const operation = reader.read(at);
      if (operation === undefined || operation.insn.flow !== 'next') return undefined;
      if (operation.uses.some(({ register, writes }) => register === RAX && writes !== 0)) {
        if (standsAt(bytes, at - start, [0x31, 0xc0])) return READ;
        const isNumber = bytes[at - start] === 0xb8 && operation.insn.length === 5;
        return isNumber ? operation.immediate : undefined;
      }
      if (targets.has(at)) return undefined;
    }
    return undefined;
  } finally {
    reader.free();
  }
}
