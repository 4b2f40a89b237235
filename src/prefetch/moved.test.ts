/** Pages that lie in another file: each of them once for each piece that has it, and no other. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { pageIndex } from '../base/brands.ts';
import { moveExtents } from './moved.ts';

const pages = ({ page, count }: { readonly page: number; readonly count: number }): number[] =>
  Array.from({ length: count }, (_, i) => page + i);

it('moves what the pieces have', () => {
  const pieces = [
    { page: 0, count: 4, to: 100 },
    { page: 10, count: 10, to: 50 },
    { page: 15, count: 2, to: 200 },
  ];
  expect(moveExtents([{ page: pageIndex(2), count: 9 }], pieces)).toEqual([
    { page: 102, count: 2 },
    { page: 50, count: 1 },
  ]);
  expect(moveExtents([{ page: pageIndex(16), count: 1 }], pieces)).toEqual([
    { page: 56, count: 1 },
    { page: 201, count: 1 },
  ]);
  expect(moveExtents([{ page: pageIndex(5), count: 5 }], pieces)).toEqual([]);
});

it('moves each page as if it were alone', () => {
  const run = fc.record({ page: fc.nat(60), count: fc.integer({ min: 1, max: 30 }) });
  fc.assert(
    fc.property(
      fc.array(
        run.map(({ page, count }) => ({ page: pageIndex(page), count })),
        { maxLength: 5 },
      ),
      fc.array(fc.record({ page: fc.nat(60), count: fc.integer({ min: 1, max: 30 }), to: fc.nat(1000) }), {
        maxLength: 5,
      }),
      (extents, pieces) => {
        const expected = extents
          .flatMap(pages)
          .flatMap((page) =>
            pieces.flatMap((piece) => (pages(piece).includes(page) ? [page - piece.page + piece.to] : [])),
          );
        const moved = moveExtents(extents, pieces).flatMap(pages);
        const ascending = (a: number, b: number): number => a - b;
        expect(moved.sort(ascending)).toEqual(expected.sort(ascending));
      },
    ),
  );
});
