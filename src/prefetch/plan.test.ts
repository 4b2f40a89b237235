import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { diskFolder, extent, profileOf } from '../../test/launch-scene.ts';
import { pageIndex } from '../base/brands.ts';
import { insideRoot } from '../profile/inside-root.ts';
import { explainPlan } from './explain.ts';
import { planPrefetch } from './plan.ts';

const folder = diskFolder();
const program = join(folder, 'program');
const data = join(folder, 'data');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (pages: number, fill: number): Buffer => Buffer.alloc(pages * 4096, fill);

beforeEach(() => {
  writeFileSync(program, bytes(100, 1));
  writeFileSync(data, bytes(300, 2));
});

const FILES = [
  { path: program, extents: [extent(0, 2), extent(4, 1), extent(50, 8)] },
  { path: data, extents: [extent(7, 100)] },
];
const base = { program, argv: ['program'], files: FILES };
const options = { gapPages: 4, chunkPages: 64 };

describe('planPrefetch', () => {
  it('plans files in the order of first use, with their stat as it is now', () => {
    const { plan, figures, skipped } = planPrefetch(profileOf(base), options);
    expect(plan.files.map(({ path, extents }) => [path, extents])).toEqual([
      [program, [extent(0, 5), extent(50, 8)]],
      [data, [extent(7, 100)]],
    ]);
    const stat = statSync(data, { bigint: true });
    expect(plan.files[1]).toMatchObject({
      size: 300 * 4096,
      mtimeNs: stat.mtimeNs,
      inode: stat.ino,
      chunkPages: 64,
    });
    expect(skipped).toEqual([]);
    expect(figures).toMatchObject({
      filePages: 400,
      usedPages: 111,
      plannedPages: 113,
      gapPages: 2,
      usedExtents: 4,
      plannedExtents: 3,
      calls: 4,
      readopted: 0,
    });
    expect(plan.workers).toBe(4);
  });

  it('closes large gaps where the device is slow, and says what was measured', () => {
    const measured: string[][] = [];
    const measure = (files: readonly string[]) => {
      measured.push([...files]);
      return { kind: 'slow', requestsPerSecond: 500, bytesPerSecond: 100e6 } as const;
    };
    const { plan, figures, devices } = planPrefetch(profileOf(base), { measure });
    expect(plan.files[0]?.extents).toEqual([extent(0, 58)]);
    expect(figures.gapPages).toBe(47);
    // The largest first, once for all of its files.
    expect(measured).toEqual([[data, program]]);
    expect(devices).toMatchObject([
      { gapPages: 48, why: { kind: 'slow', requestsPerSecond: 500, bytesPerSecond: 100e6 } },
    ]);
    expect(planPrefetch(profileOf(base), { measure, gapPages: 4 }).devices).toMatchObject([
      { gapPages: 4, why: { kind: 'asked' } },
    ]);
    expect(measured).toHaveLength(1);
  });

  it('probes the program first, pages that are in the profile only', () => {
    const { probes } = planPrefetch(profileOf(base), options).plan;
    expect(probes.slice(0, 3).every(({ path }) => path === program)).toBe(true);
    expect(probes.slice(3).every(({ path, page }) => path === data && page >= 7 && page < 107)).toBe(true);
    expect(probes).toHaveLength(6);
  });

  it('re-adopts a file that was installed anew with the same content', () => {
    const profile = profileOf(base);
    copyFileSync(data, `${data}.new`);
    rmSync(data);
    copyFileSync(`${data}.new`, data);
    utimesSync(data, 5, 5);
    const { plan, figures } = planPrefetch(profile, options);
    expect(figures.readopted).toBe(1);
    expect(plan.files[1]).toMatchObject({
      path: data,
      mtimeNs: 5_000_000_000n,
      inode: statSync(data, { bigint: true }).ino,
    });
  });

  it('says why it leaves files out', () => {
    const other = join(folder, 'other');
    const gone = join(folder, 'gone');
    const turned = join(folder, 'turned');
    for (const path of [other, gone, turned]) writeFileSync(path, bytes(5, 3));
    const extents = [extent(0, 5)];
    const files = [
      ...FILES,
      { path: other, extents },
      { path: gone, extents },
      { path: turned, extents: [extent(1, 2)] },
    ];
    const profile = profileOf({ ...base, files });
    writeFileSync(other, bytes(5, 4));
    rmSync(gone);
    rmSync(turned);
    mkdirSync(turned);
    const planned = planPrefetch(profile, options);
    expect(planned.skipped).toEqual([
      { path: other, reason: 'changed', pages: 5 },
      { path: gone, reason: 'missing', pages: 5 },
      { path: turned, reason: 'not-a-regular-file', pages: 2 },
    ]);
    expect(explainPlan(planned).skipped.map(({ reason, files: count }) => [reason, count])).toEqual([
      ['changed', 1],
      ['missing', 1],
      ['not-a-regular-file', 1],
    ]);
    expect(explainPlan(planned).rows[0]).toEqual({ what: 'pages', wholeFiles: 400, used: 111, planned: 113 });
  });

  it('repeats look-ups, failing ones too, but none in /proc, /sys and /dev', () => {
    const lookups = [
      { path: program, found: true },
      { path: join(folder, 'none'), found: false },
      { path: '/proc/self/maps', found: true },
      { path: '/dev/null', found: true },
      { path: data, found: true },
      { path: folder, found: true },
    ];
    const { plan, figures } = planPrefetch(profileOf({ ...base, lookups }), options);
    expect(plan.lookups.map(({ path }) => path)).toEqual([join(folder, 'none'), folder]);
    expect(figures).toMatchObject({ lookups: 2, failedLookups: 1 });
    expect(plan.tasks.map(({ kind }) => kind)).toEqual(['file', 'lookups', 'file', 'lookups']);
  });

  it('fetches a file that stands in another one’s place: what was recorded, but for code, and what was added', () => {
    const path = '/images/modules/00-program';
    const other = {
      path,
      size: 106 * 4096,
      mtimeNs: 5n,
      inode: 6n,
      dev: statSync(folder, { bigint: true }).dev,
    };
    const replacement = {
      ...other,
      dropped: [extent(4, 52)],
      added: [extent(100, 6)],
      headers: pageIndex(103),
    };
    const { plan, figures } = planPrefetch(
      profileOf({
        ...base,
        lookups: [
          { path: '/nowhere', found: false },
          { path: program, found: true },
        ],
      }),
      { ...options, replacements: new Map([[program, replacement]]) },
    );
    expect(plan.files[0]).toEqual({
      path,
      size: other.size,
      mtimeNs: 5n,
      inode: 6n,
      chunkPages: 64,
      extents: [extent(0, 2), extent(56, 2), extent(100, 6)],
    });
    expect(plan.files.map(({ path }) => path)).toEqual([path, data]);
    // Exec waits for the program headers: the first probe begins to read them.
    expect(plan.probes[0]).toEqual({ path, page: 103 });
    expect(plan.probes.filter((probe) => probe.path === path && probe.page === 103)).toHaveLength(1);
    // The launcher looks up both first. The path of the original leads to the file: what was looked up before it comes before the file.
    expect(plan.lookups.map(({ path }) => path)).toEqual([program, path, '/nowhere']);
    expect(plan.tasks.map(({ kind }) => kind)).toEqual(['lookups', 'lookups', 'lookups', 'file', 'file']);
    expect(figures).toMatchObject({ filePages: 406, usedPages: 110, plannedPages: 110 });
  });

  it('fetches pages that lie in a companion of another file there, and what that needs in any case', () => {
    const { dev } = statSync(folder, { bigint: true });
    const linked = { path: '/images/app.linked', size: 1000 * 4096, mtimeNs: 5n, inode: 6n, dev };
    const copy = {
      path: '/images/app',
      size: 60 * 4096,
      mtimeNs: 5n,
      inode: 7n,
      dev,
      dropped: [],
      added: [],
    };
    const itself = statSync(data, { bigint: true });
    const moved = [{ path: linked.path, pieces: [{ page: 0, count: 100_000, to: 500 }] }];
    const library = {
      path: data,
      size: Number(itself.size),
      mtimeNs: itself.mtimeNs,
      inode: itself.ino,
      dev,
      dropped: [],
      added: [],
      moved,
    };
    const planned = (stays: boolean) =>
      planPrefetch(profileOf(base), {
        ...options,
        replacements: new Map([
          [program, { ...copy, companions: [{ ...linked, extents: [extent(0, 3), extent(9, 1)] }] }],
          [data, { ...library, stays }],
        ]),
      });
    const before = planPrefetch(profileOf(base), options).plan.files.find(({ path }) => path === data);
    const there = (before?.extents ?? []).map(({ page, count }) => extent(page + 500, count));
    expect(there.length).toBeGreaterThan(0);
    const { plan, skipped, figures } = planned(false);
    expect(plan.files.map(({ path }) => path)).toEqual([copy.path, linked.path]);
    expect(plan.files[1]?.extents).toEqual([extent(0, 3), extent(9, 1), ...there]);
    expect(skipped).toEqual([]);
    expect(figures.plannedPages).toBe(
      plan.files.flatMap(({ extents }) => extents).reduce((sum, { count }) => sum + count, 0),
    );
    const both = planned(true).plan.files;
    expect(both.map(({ path }) => path)).toEqual([copy.path, linked.path, data]);
    expect(both[2]?.extents).toEqual(before?.extents);
    expect(both[1]?.extents).toEqual(plan.files[1]?.extents);
  });

  it('looks files up below another root, and keeps their paths', () => {
    const root = join(folder, 'root');
    mkdirSync(join(root, 'real'), { recursive: true });
    rmSync(join(root, 'app'), { force: true });
    symlinkSync('/real', join(root, 'app'));
    copyFileSync(data, join(root, 'real', 'data'));
    const profile = profileOf(base);
    const run = profile.runs[0];
    if (run === undefined) throw new Error('no run');
    const files = run.files.map((file) => ({ ...file, path: file.path.replace(folder, '/app') }));
    const moved = { ...profile, runs: [{ ...run, files }] };
    const { plan, skipped } = planPrefetch(moved, { ...options, root });
    expect(plan.files.map(({ path }) => path)).toEqual(['/app/data']);
    expect(plan.files[0]?.inode).toBe(statSync(join(root, 'real', 'data'), { bigint: true }).ino);
    expect(skipped).toEqual([{ path: '/app/program', reason: 'missing', pages: 11 }]);
  });
});

describe('insideRoot', () => {
  it('never leaves the root, whatever links say', () => {
    const root = mkdtempSync(join(tmpdir(), 'winnow-root-'));
    try {
      mkdirSync(join(root, 'usr', 'lib'), { recursive: true });
      symlinkSync('usr/lib', join(root, 'lib'));
      symlinkSync('/usr/lib', join(root, 'abs'));
      symlinkSync('../../../../etc', join(root, 'up'));
      symlinkSync('loop', join(root, 'loop'));
      expect(insideRoot(root, '/lib/x.so')).toBe(join(root, 'usr/lib/x.so'));
      expect(insideRoot(root, '/abs/x.so')).toBe(join(root, 'usr/lib/x.so'));
      expect(insideRoot(root, '/up/passwd')).toBe(join(root, 'etc/passwd'));
      expect(insideRoot(root, '/../../etc/../lib/./y')).toBe(join(root, 'usr/lib/y'));
      expect(insideRoot(root, '/loop/z')).toBe(join(root, 'loop/z'));
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});
