import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pageIndex } from '../base/brands.ts';
import { commonPages, subtract, toExtents } from './extents.ts';
import type { Extent } from './model.ts';

const pages = fc.uniqueArray(fc.nat({ max: 60 }).map(pageIndex), { maxLength: 40 });
const pagesOf = (extents: readonly Extent[]): number[] =>
  extents.flatMap(({ page, count }) => Array.from({ length: count }, (_, index) => page + index));

describe('extents', () => {
  it('are subtracted and compared like sets of pages', () => {
    fc.assert(
      fc.property(pages, pages, (some, others) => {
        const [a, b] = [toExtents(some), toExtents(others)];
        const without = new Set<number>(others);
        expect(pagesOf(subtract(a, b))).toEqual(pagesOf(a).filter((page) => !without.has(page)));
        expect(commonPages(a, b)).toBe(pagesOf(a).filter((page) => without.has(page)).length);
      }),
    );
  });

  it('keep what is said of them when a part is taken out', () => {
    const extent = { page: pageIndex(3), count: 5, hits: 2 };
    expect(subtract([extent], [{ page: pageIndex(4), count: 1 }])).toEqual([
      { page: 3, count: 1, hits: 2 },
      { page: 5, count: 3, hits: 2 },
    ]);
  });
});
