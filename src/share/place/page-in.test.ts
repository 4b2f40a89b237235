import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { page, slid, slide, slidPage, WRITE } from '../../../test/support/placed-images.ts';
import { PAGE_SIZE } from '../../base/brands.ts';
import type { PlacedImage, PlacedMap } from '../linked/linked-model.ts';
import { pageInOf } from './page-in.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-page-in-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const READ = { read: true, write: false, execute: false } as const;

/** So many pages with addresses, in one map. */
function imageOf(count: number, change: Partial<PlacedMap> = {}): PlacedImage {
  const map: PlacedMap = {
    at: page(0),
    size: count * PAGE_SIZE,
    source: { kind: 'pages', offset: 0 },
    protection: READ,
    ...change,
  };
  const pages = Array.from({ length: count }, (_, index) => slidPage(index, 'rest', 1));
  return { ...slid, maps: [map], fixUps: [], slide: { ...slide, pages } };
}

function moduleWith(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('pages that a start may leave', () => {
  it('are read-only ones of the image', () => {
    expect(pageInOf(imageOf(40), [])).toEqual({ kind: 'left', pages: 40 });
    const none = { kind: 'kept', reason: 'fewer than 32 read-only pages hold addresses' };
    expect(pageInOf(imageOf(31), [])).toEqual(none);
    expect(pageInOf(imageOf(40, { protection: WRITE }), [])).toEqual(none);
    expect(pageInOf(imageOf(40, { protection: { ...READ, execute: true } }), [])).toEqual(none);
    expect(pageInOf({ ...imageOf(40), slide: undefined }, [])).toEqual(none);
  });

  it('have no fix-ups', () => {
    const image = imageOf(40);
    const fixUps = [
      { at: page(3), size: 8, kind: 'tid' },
      { at: page(8), size: 4, kind: 'argc' },
    ] as const;
    expect(pageInOf({ ...image, fixUps }, [])).toEqual({ kind: 'left', pages: 38 });
  });

  it('are none where a module has restartable sequences, but for libc and the loader, which know of them', () => {
    const restarts = moduleWith('liballoc.so', 'x\0__rseq_offset\0');
    const libc = moduleWith('libc.so.6', 'x\0__rseq_offset\0');
    const other = moduleWith('libother.so', 'x\0__rseq_abi\0');
    expect(pageInOf(imageOf(40), [libc, other, restarts])).toEqual({
      kind: 'kept',
      reason: 'the kernel reads constants of restartable sequences',
      detail: restarts,
    });
    expect(pageInOf(imageOf(40), [libc, other, join(folder, 'gone.so')])).toEqual({
      kind: 'left',
      pages: 40,
    });
  });
});
