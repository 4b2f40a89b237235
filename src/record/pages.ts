/** A growing set of page ranges of one file; cheap to add to, sorted out once at the end. */
import { PAGE_SIZE, pageIndex, pagesIn } from '../base/brands.ts';
import type { Extent } from '../profile/model.ts';

export class PageSet {
  readonly #ranges: { start: number; end: number }[] = [];

  /** Pages from `start` up to, not including, `end`. */
  addPages(start: number, end: number): void {
    if (end > start) this.#ranges.push({ start, end });
  }

  /** The pages that hold the bytes from `start` up to, not including, `end`. */
  addBytes(start: number, end: number): void {
    if (end > start) this.addPages(Math.floor(start / PAGE_SIZE), pagesIn(end));
  }

  /** Ascending, disjoint, not touching, nothing beyond `size` bytes. */
  extents(size: number): Extent[] {
    const last = pagesIn(size);
    const sorted = this.#ranges.toSorted((a, b) => a.start - b.start);
    const joined: { start: number; end: number }[] = [];
    for (const { start, end } of sorted) {
      const previous = joined.at(-1);
      if (previous !== undefined && start <= previous.end) previous.end = Math.max(previous.end, end);
      else joined.push({ start, end });
    }
    return joined.flatMap(({ start, end }) => {
      const count = Math.min(end, last) - start;
      return count > 0 ? [{ page: pageIndex(start), count }] : [];
    });
  }
}

/** The pages of every file that one image used in one way. */
export class FilePages {
  readonly #files = new Map<string, PageSet>();

  of(path: string): PageSet {
    let pages = this.#files.get(path);
    if (pages === undefined) {
      pages = new PageSet();
      this.#files.set(path, pages);
    }
    return pages;
  }

  entries(): IterableIterator<[string, PageSet]> {
    return this.#files.entries();
  }
}
