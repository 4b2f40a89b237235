/** Which libraries the image has whole: the small ones, whatever else is there. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FILES, state, stateOf } from '../../../test/support/linked-states.ts';
import { PAGE_SIZE } from '../../base/brands.ts';
import type { LinkedMapping, LinkedState } from '../model.ts';
import { librariesToTake, MOST_CLEAN_PAGES } from './take.ts';

const LIBRARY = 2;
const none = (): boolean => false;
const linked = stateOf({ program: [], arena: [], loader: [] }, []);

const mapped = (file: number, pages: number, dirty = 0): LinkedMapping => ({
  place: { anchor: 'arena', offset: 0 },
  size: pages * PAGE_SIZE,
  protection: { read: true, write: false, execute: false },
  source: { file, offset: 0 },
  dirty: Array.from({ length: dirty }, (_, i) => ({ offset: i * PAGE_SIZE, bytes: Buffer.alloc(PAGE_SIZE) })),
});

const taken = (mappings: readonly LinkedMapping[], asks: (path: string) => boolean = none) => [
  ...librariesToTake({ ...linked, mappings }, asks),
];

describe('taking libraries', () => {
  it('takes one up to so many clean pages, in however many mappings', () => {
    expect(taken([mapped(LIBRARY, MOST_CLEAN_PAGES)])).toEqual([[LIBRARY, MOST_CLEAN_PAGES]]);
    expect(taken([mapped(LIBRARY, MOST_CLEAN_PAGES + 1)])).toEqual([]);
    expect(taken([mapped(LIBRARY, MOST_CLEAN_PAGES), mapped(LIBRARY, 1)])).toEqual([]);
    expect(taken([mapped(LIBRARY, MOST_CLEAN_PAGES + 5, 5)])).toEqual([[LIBRARY, MOST_CLEAN_PAGES]]);
  });

  it('takes neither the program nor the loader, nor a library that may look for itself', () => {
    expect(taken([mapped(0, 1), mapped(1, 1), mapped(LIBRARY, 1)])).toEqual([[LIBRARY, 1]]);
    expect(taken([mapped(LIBRARY, 1)], (path) => path === '/library')).toEqual([]);
  });

  it('counts each page of a library that is the file\u2019s', () => {
    fc.assert(
      fc.property(state, (some: LinkedState) => {
        const clean = some.mappings
          .filter(({ source }) => source?.file === LIBRARY)
          .reduce((sum, { size, dirty }) => sum + size / PAGE_SIZE - dirty.length, 0);
        const expected = FILES.length > LIBRARY && clean <= MOST_CLEAN_PAGES ? [[LIBRARY, clean]] : [];
        expect([...librariesToTake(some, none)]).toEqual(expected);
      }),
    );
  });
});
