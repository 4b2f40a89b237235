/** A growing set of page ranges of one file; cheap to add to, sorted out once at the end. */
import { PAGE_SIZE, pageIndex, pagesIn } from '../base/brands.ts';
import { clampExtents, joinExtents } from '../profile/extents.ts';
import type { Extent } from '../profile/model.ts';
import type { Image } from './tracees.ts';

export class PageSet {
  readonly #ranges: Extent[] = [];

  /** Pages from `start` up to, not including, `end`. */
  addPages(start: number, end: number): void {
    if (end > start) this.#ranges.push({ page: pageIndex(start), count: end - start });
  }

  /** The pages that hold the bytes from `start` up to, not including, `end`. */
  addBytes(start: number, end: number): void {
    if (end > start) this.addPages(Math.floor(start / PAGE_SIZE), pagesIn(end));
  }

  /** Ascending, disjoint, not touching, nothing beyond `size` bytes. */
  extents(size: number): readonly Extent[] {
    return clampExtents(joinExtents(this.#ranges), size);
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

/** The same for every image that one observer met. */
export class ImagePages {
  readonly #images = new Map<Image, FilePages>();

  of(image: Image): FilePages {
    let pages = this.#images.get(image);
    if (pages === undefined) {
      pages = new FilePages();
      this.#images.set(image, pages);
    }
    return pages;
  }
}
