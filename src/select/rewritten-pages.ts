/**
 * Which pages of a rewritten file a start needs, where the profile knows those of the original.
 *
 * Every original byte stands where it stood, so the recorded pages hold for the rewritten file too, but for
 * code: what was copied is not run in its old place any more. So the pages that copied code came from are left out, and
 * those of the copies are taken in. Pages that hold anything else beside code (headers and constants in files of
 * one segment), and pages of used code that was not copied, stay; so do recorded pages of which nobody knows what
 * was run there (Chromium has functions without unwind information, where no breakpoint tells). So does what runs in its old place
 * although it was copied, in programs at fixed addresses (`fixed-addresses.ts`) and wherever much code belongs to no unit: its
 * branches are as they were, so it goes on calling originals. And so does code that no breakpoint can tell of, as the signal
 * trampoline of the C library. Rebuilt unwind tables
 * have a segment of their own. They are read when an exception is thrown, so they are left to the kernel.
 *
 * Example: 8 of the 9 page faults that waited for the disk when python3 imported numpy were for functions with
 * a copy, which C extensions and tables of methods know by their addresses.
 */
import { PAGE_SIZE, pageIndex, rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import {
  PF_X,
  PHDR_SIZE,
  PT_GNU_EH_FRAME,
  PT_LOAD,
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHT_NOBITS,
} from '../elf/spec.ts';
import { joinExtents, subtract } from '../profile/extents.ts';
import type { Extent } from '../profile/model.ts';
import type { ModuleAnalysis, Unit } from '../rewrite/model.ts';
import { fillerAt, isFiller } from '../rewrite/padding.ts';
import { pagesOver } from './code-pages.ts';
import type { RewrittenPages } from './model.ts';

/**
 * @param copied units that were copied.
 * @param running units that run in their old place: used ones that were not copied, and see above.
 */
export function rewrittenPages(
  original: ElfImage,
  rewritten: ElfImage,
  copied: readonly Unit[],
  running: readonly Unit[],
): RewrittenPages {
  const end = original.bytes.length;
  const tables = rewritten.segments.find(({ type }) => type === PT_GNU_EH_FRAME)?.offset;
  const fresh = rewritten.segments.filter(
    ({ type, offset, fileSize }) =>
      type === PT_LOAD && fileSize > 0 && offset + fileSize > end && offset !== tables,
  );
  return {
    dropped: subtract(
      joinExtents(pagesOfCode(original, copied)),
      joinExtents([...besideCode(original), ...pagesOfCode(original, running)]),
    ),
    added: joinExtents(
      fresh.map(({ offset, fileSize }) => pagesOver(Math.max(offset, end), offset + fileSize)),
    ),
    headers: pageIndex(Math.floor(rewritten.header.segmentsAt / PAGE_SIZE)),
  };
}

/**
 * Whether much of the code belongs to no unit: more than a quarter. Of Chromium's 96 % does: of the 199 recorded pages from which
 * functions were copied, it runs on 63. Where it is less it is assembly that calls nobody: C libraries, arithmetic, codecs.
 */
export function isLargelyUnknown(image: ElfImage, units: readonly Unit[]): boolean {
  let unknown = 0;
  let known = 0;
  const gap = (from: number, to: number): void => {
    if (to > from) unknown += unfilled(image, from, to);
  };
  for (const { start, end } of codeRanges(image)) {
    let at = start;
    for (const unit of units) {
      if (unit.end <= at) continue;
      if (unit.start >= end) break;
      gap(at, unit.start);
      known += unit.end - unit.start;
      at = unit.end;
    }
    gap(at, end);
  }
  return unknown > MOST_UNKNOWN * (known + unknown);
}

const MOST_UNKNOWN = 1 / 4;

/** Sections of code; segments, where there are none. */
function codeRanges(image: ElfImage): { readonly start: number; readonly end: number }[] {
  const isCode = SHF_ALLOC | SHF_EXECINSTR;
  const sections = image.sections.filter(
    ({ type, flags }) => type !== SHT_NOBITS && (flags & isCode) === isCode,
  );
  if (sections.length > 0) return sections.map(({ rva, size }) => ({ start: rva, end: rva + size }));
  return image.segments
    .filter(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0)
    .map(({ rva, fileSize }) => ({ start: rva, end: rva + fileSize }));
}

/** Bytes that fill no space between functions; zeros inside of code count as such. */
function unfilled(image: ElfImage, start: number, end: number): number {
  const offset = image.offsetOf(rva(start));
  if (offset === undefined) return 0;
  const bytes = image.bytes.subarray(offset, offset + (end - start));
  let found = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = fillerAt(bytes, at) || jumpOver(bytes, at);
    if (length === 0) found++;
    at += length || 1;
  }
  return found;
}

/** Bytes of a long gap that assemblers begin with a jump to its end; 0: there is none. */
function jumpOver(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== JUMP || at + JUMP_SIZE > bytes.length) return 0;
  const length = JUMP_SIZE + viewOf(bytes).getInt32(at + 1, true);
  const isGap = length >= JUMP_SIZE && at + length <= bytes.length;
  return isGap && isFiller(bytes.subarray(at + JUMP_SIZE, at + length)) ? length : 0;
}

/** `jmp rel32` */
const JUMP = 0xe9;
const JUMP_SIZE = 5;

/** Pages of the file that hold something that is no code. */
function besideCode(image: ElfImage): Extent[] {
  const others = image.segments.filter(
    ({ type, flags, fileSize }) => type === PT_LOAD && fileSize > 0 && (flags & PF_X) === 0,
  );
  const sections = image.sections.filter(
    ({ type, flags }) => type !== SHT_NOBITS && (flags & SHF_ALLOC) !== 0 && (flags & SHF_EXECINSTR) === 0,
  );
  const { segmentsAt, segmentCount } = image.header;
  return [
    pagesOver(0, segmentsAt + segmentCount * PHDR_SIZE),
    ...others.map(({ offset, fileSize }) => pagesOver(offset, offset + fileSize)),
    ...sections.map(({ offset, size }) => pagesOver(offset, offset + size)),
  ];
}

function pagesOfCode(image: ElfImage, units: readonly Unit[]): Extent[] {
  return units.flatMap(({ start, end }) => {
    const offset = image.offsetOf(start);
    return offset === undefined ? [] : [pagesOver(offset, offset + (end - start))];
  });
}

/** Units that must not move and that no recording can have seen. */
export function unseenUnits({ units, breakpoints }: Pick<ModuleAnalysis, 'units' | 'breakpoints'>): Unit[] {
  let next = 0;
  return units.filter(({ kept, start, end }) => {
    while ((breakpoints[next] ?? end) < start) next += 1;
    return kept !== undefined && (breakpoints[next] ?? end) >= end;
  });
}
