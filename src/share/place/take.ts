/**
 * Variant `auto`: which libraries the image has whole, and which are mapped from their files.
 *
 * Problem. A library costs seven calls at each start (open, fstat, close, two of mmap, two of mprotect), however small it is; in
 * the image, beside its neighbours, it costs half of them. But what is copied takes room on disk, and is not the same memory as in programs
 * that map the file.
 *
 * Example. Of inkscape's 137 libraries 48 have at most 32 clean pages, 2.3 MiB together; the others have 127 MiB.
 *
 * Method. A library is taken if it has at most 32 clean pages: what three to four calls are worth at the price that gaps have
 * (place-maps.ts), eight pages a call. Pages, not other processes, decide: so the same program always gets the same
 * image, and what memory is lost where others use the file is bounded, too. Protections stay what they were, and the
 * file is still looked at when the program starts. A library that asks for the memory map may be looking for itself there: it stays a file.
 *
 * Limits. Who looks for a library in the memory map of a process finds the image where it is taken: a profiler has no names for its
 * functions, a uprobe on the file does not see them. `--variant files` takes none.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { LinkedState } from '../model.ts';

export const MOST_CLEAN_PAGES = 32;

/**
 * Indexes into `LinkedState.files`, with the clean pages of each.
 * @param asks whether a module may look for itself in the memory map.
 */
export function librariesToTake(
  { files, mappings }: Pick<LinkedState, 'files' | 'mappings'>,
  asks: (path: string) => boolean,
): ReadonlyMap<number, number> {
  const clean = files.map(() => 0);
  for (const { source, size, dirty } of mappings) {
    if (source !== undefined)
      clean[source.file] = (clean[source.file] ?? 0) + size / PAGE_SIZE - dirty.length;
  }
  const taken = new Map<number, number>();
  files.forEach(({ role, path }, index) => {
    const pages = clean[index] ?? 0;
    if (role === 'library' && pages <= MOST_CLEAN_PAGES && !asks(path)) taken.set(index, pages);
  });
  return taken;
}
