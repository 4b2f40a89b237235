/** How much of a module's code is used, in 4 KiB pages. */
import { PAGE_SIZE, pageIndex } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { PF_X, PT_LOAD } from '../elf/spec.ts';
import type { Extent } from '../profile/model.ts';
import type { Unit } from '../rewrite/model.ts';

const isCode = ({ type, flags }: { readonly type: number; readonly flags: number }): boolean =>
  type === PT_LOAD && (flags & PF_X) !== 0;

/** Pages from the byte `from` to the byte before `to`. */
export function pagesOver(from: number, to: number): Extent {
  const page = Math.floor(from / PAGE_SIZE);
  return { page: pageIndex(page), count: to <= from ? 0 : Math.ceil(to / PAGE_SIZE) - page };
}

/** Pages of the executable segments in memory. */
export function textPages(image: ElfImage): number {
  return image.segments
    .filter(isCode)
    .reduce((sum, { rva, memSize }) => sum + pagesOver(rva, rva + memSize).count, 0);
}

/** The same in the file, ascending. */
export function codeExtents(image: ElfImage): Extent[] {
  return image.segments
    .filter((segment) => isCode(segment) && segment.fileSize > 0)
    .map(({ offset, fileSize }) => pagesOver(offset, offset + fileSize))
    .sort((a, b) => a.page - b.page);
}

/** Pages on which any of the units lies. */
export function pagesOfUnits(units: Iterable<Unit>): number {
  const pages = new Set<number>();
  for (const { start, end } of units) {
    const { page, count } = pagesOver(start, end);
    for (let index: number = page; index < page + count; index += 1) pages.add(index);
  }
  return pages.size;
}
