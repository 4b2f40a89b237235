/**
 * Which pages of a rewritten file a start needs, where the profile knows those of the original.
 *
 * Every original byte stands where it stood, so the recorded pages hold for the rewritten file too, but for
 * code: what was copied is not run in its old place any more. So the pages that copied code came from are left out, and
 * those of the copies are taken in. Pages that hold anything else beside code (headers and constants in files of
 * one segment), and pages of used code that was not copied, stay; so do recorded pages of which nobody knows what
 * was run there (Chromium has functions without unwind information, where no breakpoint tells). So does what runs in its old place
 * although it was copied, in programs at fixed addresses (`fixed-addresses.ts`), and code that no breakpoint can tell of, as the signal
 * trampoline of the C library. Rebuilt unwind tables
 * have a segment of their own. They are read when an exception is thrown, so they are left to the kernel.
 *
 * Example: 8 of the 9 page faults that waited for the disk when python3 imported numpy were for functions with
 * a copy, which C extensions and tables of methods know by their addresses.
 */
import { PAGE_SIZE, pageIndex } from '../base/brands.ts';
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
