import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FilePages, PageSet } from './pages.ts';

const MAX = 60;
const range = fc.tuple(fc.nat(MAX), fc.nat(MAX)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);

describe('PageSet', () => {
  it('holds what was added, once, in order, and nothing beyond the file', () => {
    fc.assert(
      fc.property(fc.array(range), fc.nat(MAX * 4096), (ranges, size) => {
        const set = new PageSet();
        const expected = new Set<number>();
        for (const [start, end] of ranges) {
          set.addPages(start, end);
          for (let page = start; page < end && page < Math.ceil(size / 4096); page++) expected.add(page);
        }
        const extents = set.extents(size);
        const pages = extents.flatMap(({ page, count }) => Array.from({ length: count }, (_, i) => page + i));
        expect(pages).toEqual([...expected].sort((a, b) => a - b));
        // Neighbours are joined.
        extents.forEach(({ page }, i) => {
          const previous = extents[i - 1];
          if (previous !== undefined) expect(page).toBeGreaterThan(previous.page + previous.count);
        });
      }),
    );
  });

  it('rounds bytes out to pages', () => {
    const set = new PageSet();
    set.addBytes(4095, 4097);
    set.addBytes(3 * 4096, 3 * 4096);
    expect(set.extents(1 << 20)).toEqual([{ page: 0, count: 2 }]);
  });

  it('is one for each file', () => {
    const files = new FilePages();
    expect(files.of('/a')).toBe(files.of('/a'));
    expect([...files.entries()].map(([path]) => path)).toEqual(['/a']);
  });
});
