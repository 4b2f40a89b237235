import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pageIndex } from '../base/brands.ts';
import type { WorkingFile } from '../profile/stats.ts';
import { choosePages, closeGaps, fullWeight } from './choose-pages.ts';

const extent = (page: number, count: number) => ({ page: pageIndex(page), count });

function file(...extents: readonly (readonly [page: number, count: number, weight: number])[]): WorkingFile {
  return {
    path: '/f',
    identity: { size: 4096 * 1000, mtimeNs: 0n, inode: 1n },
    order: 0,
    runs: 1,
    otherRuns: 0,
    extents: extents.map(([page, count, weight]) => ({
      ...extent(page, count),
      hits: 1,
      weight,
      how: 'mapped',
    })),
  };
}

describe('closeGaps', () => {
  it('reads over gaps of at most the given pages', () => {
    const extents = [extent(10, 3), extent(15, 1), extent(20, 2)];
    expect(closeGaps(extents, 0)).toEqual(extents);
    expect(closeGaps(extents, 2)).toEqual([extent(10, 6), extent(20, 2)]);
    expect(closeGaps(extents, 4)).toEqual([extent(10, 12)]);
  });

  it('covers what it was given, keeps wider gaps, and no narrower ones', () => {
    const pieces = fc.array(fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 9 })));
    fc.assert(
      fc.property(pieces, fc.nat(20), (gaps, most) => {
        let end = 0;
        const extents = gaps.map(([gap, count]) => {
          const one = extent(end + gap, count);
          end += gap + count;
          return one;
        });
        const closed = closeGaps(extents, most);
        for (const { page, count } of extents) {
          expect(closed.some((one) => one.page <= page && page + count <= one.page + one.count)).toBe(true);
        }
        closed.slice(1).forEach((one, index) => {
          const before = closed[index];
          expect(one.page - ((before?.page ?? 0) + (before?.count ?? 0))).toBeGreaterThan(most);
        });
      }),
    );
  });
});

describe('choosePages', () => {
  it('keeps all of a single run', () => {
    const chosen = choosePages(file([0, 4, 1], [100, 2, 1]), 1, 4096 * 1000, 0);
    expect(chosen).toMatchObject({ usedPages: 6, unsurePages: 0, gapPages: 0 });
    expect(chosen.extents).toEqual([extent(0, 4), extent(100, 2)]);
  });

  it('leaves out what one old run of many used, and keeps the newest of four', () => {
    const all = fullWeight(4, 0);
    const oldest = 0.8 ** 3;
    const chosen = choosePages(file([0, 4, all], [50, 9, oldest], [90, 1, 1]), 4, 4096 * 1000, 0);
    expect(chosen.extents).toEqual([extent(0, 4), extent(90, 1)]);
    expect(chosen).toMatchObject({ usedPages: 14, unsurePages: 9 });
  });

  it('does not hold runs that saw another content against the newest one', () => {
    const installedToday = { ...file([3, 2, 1]), otherRuns: 15 };
    expect(choosePages(installedToday, 16, 4096 * 1000, 0).extents).toEqual([extent(3, 2)]);
  });

  it('counts the pages of closed gaps apart', () => {
    const chosen = choosePages(file([0, 1, 1], [3, 1, 1]), 1, 4096 * 1000, 4);
    expect(chosen).toMatchObject({ extents: [extent(0, 4)], usedPages: 2, gapPages: 2 });
  });

  it('stops at the end of the file', () => {
    const chosen = choosePages(file([0, 10, 1], [40, 1, 1]), 1, 4096 * 4 + 1, 0);
    expect(chosen.extents).toEqual([extent(0, 5)]);
  });
});
