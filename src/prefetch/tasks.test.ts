import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pageIndex } from '../base/brands.ts';
import type { PlannedFile } from './model.ts';
import { type AnchoredLookup, orderWork } from './tasks.ts';

function file(path: string, ...counts: readonly number[]): PlannedFile {
  let page = 0;
  const extents = counts.map((count) => {
    const extent = { page: pageIndex(page), count };
    page += count + 1;
    return extent;
  });
  return { path, size: page * 4096, mtimeNs: 0n, inode: 1n, chunkPages: 512, extents };
}

const missing = (path: string): AnchoredLookup => ({ path, found: false, isOpened: false });
const opened = (path: string, leadsTo: number): AnchoredLookup => ({
  path,
  found: true,
  leadsTo,
  isOpened: true,
});

describe('orderWork', () => {
  it('puts look-ups in front of the file that was opened after them', () => {
    const files = [file('/prog', 2), file('/b/libz.so', 3)];
    const lookups = [
      missing('/etc/preload'),
      opened('/prog', 0),
      missing('/a/libz.so'),
      opened('/b/libz.so', 1),
      missing('/late'),
    ];
    const { lookups: kept, tasks } = orderWork(files, lookups);
    expect(kept.map(({ path }) => path)).toEqual(['/etc/preload', '/a/libz.so', '/late']);
    expect(tasks).toEqual([
      { kind: 'lookups', first: 0, count: 1 },
      { kind: 'file', file: 0, first: 0, count: 1 },
      { kind: 'lookups', first: 1, count: 1 },
      { kind: 'file', file: 1, first: 0, count: 1 },
      { kind: 'lookups', first: 2, count: 1 },
    ]);
  });

  it('repeats a look-up through a symbolic link, although it leads to a planned file', () => {
    const link = { path: '/lib/libz.so', found: true, leadsTo: 0, isOpened: false };
    expect(orderWork([file('/usr/lib/libz.so', 1)], [link]).lookups).toEqual([
      { path: '/lib/libz.so', found: true },
    ]);
  });

  it('spreads look-ups evenly where none leads to a file', () => {
    const files = [file('/a', 1), file('/b', 1)];
    const kinds = orderWork(files, ['1', '2', '3', '4'].map(missing)).tasks.map(({ kind }) => kind);
    expect(kinds).toEqual(['lookups', 'file', 'lookups', 'file']);
  });

  it('splits large files, so that several workers ask for one', () => {
    const { tasks } = orderWork([file('/big', 900, 900, 3000, 10)], []);
    expect(tasks.map((task) => [task.first, task.count])).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
      [3, 1],
    ]);
  });

  it('begins with what is urgent, a part of the look-ups for each worker, and does it once', () => {
    const files = [file('/prog', 2), file('/lib/libz.so', 3), file('/lib/ld.so', 4)];
    const urgent = { paths: ['/lib64/ld.so', '/bin/prog', '/image/prog'], files: [2] };
    const { lookups, tasks } = orderWork(files, [missing('/etc/preload'), opened('/prog', 0)], {
      urgent,
      workers: 2,
    });
    expect(lookups).toEqual([
      { path: '/lib64/ld.so', found: true },
      { path: '/bin/prog', found: true },
      { path: '/image/prog', found: true },
      { path: '/etc/preload', found: false },
    ]);
    expect(tasks).toEqual([
      { kind: 'lookups', first: 0, count: 2 },
      { kind: 'lookups', first: 2, count: 1 },
      { kind: 'file', file: 2, first: 0, count: 1 },
      { kind: 'lookups', first: 3, count: 1 },
      { kind: 'file', file: 0, first: 0, count: 1 },
      { kind: 'file', file: 1, first: 0, count: 1 },
    ]);
  });

  it('does every extent and every look-up once, files in their order', () => {
    const counts = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 600 });
    const lookup = fc.record({
      found: fc.boolean(),
      at: fc.nat(9),
      isOpened: fc.boolean(),
      anchored: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(counts, { maxLength: 10 }), fc.array(lookup, { maxLength: 100 }), (all, picks) => {
        const files = all.map((own, index) => file(`/${index}`, ...own));
        const lookups = picks.map(({ found, at, isOpened, anchored }, index): AnchoredLookup => {
          const base = { path: `/l${index}`, found };
          return anchored && at < files.length
            ? { ...base, leadsTo: at, isOpened }
            : { ...base, isOpened: false };
        });
        const { lookups: kept, tasks } = orderWork(files, lookups);
        const extents = tasks.flatMap((task) =>
          task.kind === 'file'
            ? Array.from({ length: task.count }, (_, i) => [task.file, task.first + i])
            : [],
        );
        const looked = tasks.flatMap((task) =>
          task.kind === 'lookups' ? Array.from({ length: task.count }, (_, i) => task.first + i) : [],
        );
        expect(extents).toEqual(files.flatMap(({ extents: own }, at) => own.map((_, i) => [at, i])));
        expect(looked).toEqual(kept.map((_, index) => index));
        expect(kept.map(({ path }) => path)).toEqual(
          lookups.filter(({ isOpened }) => !isOpened).map(({ path }) => path),
        );
      }),
      { numRuns: 200 },
    );
  });
});
