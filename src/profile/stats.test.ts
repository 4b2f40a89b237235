import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arbitraryProfile, gitFunctionsRun, gitProfile, gitRun } from '../../test/profile-samples.ts';
import { pageIndex } from '../base/brands.ts';
import { pageCount } from './extents.ts';
import { sameContent } from './identity.ts';
import type { Extent, Profile, Run } from './model.ts';
import { DECAY, processSets, workingSet } from './stats.ts';

const extent = (page: number, count: number): Extent => ({ page: pageIndex(page), count });

/** A run that used these pages of one file, the size and modification time as given. */
function oneFile(
  age: number,
  extents: Extent[],
  changes: { size?: number; how?: 'mapped' | 'read' } = {},
): Run {
  const identity = { size: changes.size ?? 100 * 4096, mtimeNs: 1n, inode: 1n, buildId: 'aa' };
  const process = {
    program: '/p',
    argvShape: ['p'],
    ended: { kind: 'exited' as const, code: 0 },
    pages: [{ file: 0, how: changes.how ?? ('mapped' as const), extents }],
  };
  return gitRun(age, { files: [{ path: '/f', identity }], processes: [process], lookups: [] });
}

describe('workingSet', () => {
  it('counts hits and weighs them by age', () => {
    const runs = [
      oneFile(0, [extent(0, 10)]),
      oneFile(1, [extent(5, 10)]),
      oneFile(2, [extent(5, 5)], { how: 'read' }),
    ];
    const [file] = workingSet({ name: 'x', runs }).files;
    expect(file).toMatchObject({ path: '/f', order: 0, runs: 3, otherRuns: 0 });
    expect(file?.extents).toEqual([
      { page: 0, count: 5, hits: 1, weight: 1, how: 'mapped' },
      { page: 5, count: 5, hits: 3, weight: 1 + DECAY + DECAY ** 2, how: 'mapped' },
      { page: 10, count: 5, hits: 1, weight: DECAY, how: 'mapped' },
    ]);
  });

  it('counts only the newest content of a file', () => {
    const runs = [
      oneFile(0, [extent(0, 1)]),
      oneFile(1, [extent(7, 1)], { size: 50 * 4096 }),
      oneFile(2, [extent(0, 1)]),
    ];
    const [file] = workingSet({ name: 'x', runs }).files;
    expect(file).toMatchObject({ runs: 2, otherRuns: 1, identity: { size: 100 * 4096 } });
    expect(file?.extents).toEqual([{ page: 0, count: 1, hits: 2, weight: 1 + DECAY ** 2, how: 'mapped' }]);
  });

  it('sorts files and look-ups by the median of their first use', () => {
    const last = gitRun(0);
    const turned = {
      ...last,
      files: last.files.toReversed(),
      processes: [],
      lookups: last.lookups.toReversed(),
    };
    const set = workingSet({ name: 'x', runs: [turned, gitRun(1), gitRun(2)] });
    expect(set.files.map((file) => file.path)).toEqual([
      '/usr/bin/git',
      '/lib/x86_64-linux-gnu/libc.so.6',
      '/etc/gitconfig',
    ]);
    expect(set.lookups).toEqual([
      { path: '/etc/gitconfig', found: true, weight: 1 + DECAY + DECAY ** 2, order: 0 },
      { path: '/home/ann/.gitconfig', found: false, weight: 1 + DECAY + DECAY ** 2, order: 1 },
    ]);
  });

  it('sets quick recordings aside where thorough ones say more, and counts them where none does', () => {
    const quick = (age: number): Run => ({
      ...oneFile(age, [extent(0, 16)]),
      method: { pages: 'fault-around', lookups: 'unseen', functions: 'unseen', kernel: '6.18.0' },
    });
    const mixed = workingSet({ name: 'x', runs: [quick(0), oneFile(1, [extent(3, 1)])] });
    expect(mixed).toMatchObject({ runs: 1, setAside: 1, fullWeight: 1 });
    expect(mixed.files[0]?.extents).toMatchObject([{ page: 3, count: 1, hits: 1, weight: 1 }]);
    const alone = workingSet({ name: 'x', runs: [quick(0), quick(1)] });
    expect(alone).toMatchObject({ runs: 2, setAside: 0 });
    expect(alone.files[0]?.extents).toMatchObject([{ page: 0, count: 16, hits: 2 }]);
  });

  it('sets runs with breakpoints aside where others say more of pages', () => {
    const seen = gitFunctionsRun(0).method;
    const runs = [{ ...oneFile(0, [extent(0, 9)]), method: seen }, oneFile(1, [extent(3, 1)])];
    const mixed = workingSet({ name: 'x', runs });
    expect(mixed).toMatchObject({ runs: 1, setAside: 1, fullWeight: 1 });
    expect(mixed.files[0]?.extents).toMatchObject([{ page: 3, count: 1 }]);
    expect(workingSet({ name: 'x', runs: runs.slice(0, 1) })).toMatchObject({ runs: 1, setAside: 0 });
  });

  it('agrees with counting page by page', () => {
    fc.assert(fc.property(arbitraryProfile(true, 16), (profile) => expectSameAsCounting(profile)));
  });

  it('bears 33,000 pages in scattered extents over 16 runs', () => {
    const scattered = Array.from({ length: 16_500 }, (_, n) => extent(n * 5, 2));
    const runs = Array.from({ length: 16 }, (_, age) =>
      oneFile(age, age % 2 === 0 ? scattered : scattered.slice(100), { size: 100_000 * 4096 }),
    );
    const [file] = workingSet({ name: 'x', runs }).files;
    expect(pageCount(file?.extents ?? [])).toBe(33_000);
    expect(file?.extents[0]?.hits).toBe(8);
    expect(file?.extents.at(-1)?.hits).toBe(16);
  });
});

/** The plain way: a map from page to the runs that used it. */
function expectSameAsCounting(profile: Profile): void {
  const level = ({ method }: Run): number =>
    method.lookups === 'unseen' ? 0 : method.pages !== 'exact' ? 1 : method.functions === 'seen' ? 2 : 3;
  const best = Math.max(...profile.runs.map(level));
  const runs = profile.runs.filter((run) => level(run) === best);
  for (const file of workingSet(profile).files) {
    const counted = new Map<number, { ages: Set<number>; mapped: boolean }>();
    runs.forEach((run, age) => {
      const first = run.files.findIndex(
        (used, index) =>
          used.path === file.path && run.processes.some((p) => p.pages.some((of) => of.file === index)),
      );
      const identity = run.files[first]?.identity;
      if (identity === undefined || !sameContent(identity, file.identity)) return;
      for (const { file: index, how, extents } of run.processes.flatMap((process) => process.pages)) {
        if (index !== first) continue;
        for (const { page, count } of extents) {
          for (let at = page as number; at < page + count; at += 1) {
            const entry = counted.get(at) ?? { ages: new Set<number>(), mapped: false };
            counted.set(at, entry);
            entry.ages.add(age);
            entry.mapped ||= how === 'mapped';
          }
        }
      }
    });
    const pages = file.extents.flatMap(({ page, count, hits, weight, how }) =>
      Array.from({ length: count }, (_, n) => ({ page: page + n, hits, weight, how })),
    );
    const expected = [...counted]
      .sort(([a], [b]) => a - b)
      .map(([page, { ages, mapped }]) => ({
        page,
        hits: ages.size,
        weight: [...ages].sort((a, b) => a - b).reduce((sum, age) => sum + DECAY ** age, 0),
        how: mapped ? 'mapped' : 'read',
      }));
    expect(pages).toEqual(expected);
  }
}

describe('processSets', () => {
  it('matches processes across runs by program and shape of arguments', () => {
    const sets = processSets(gitProfile());
    expect(sets.map(({ argvShape, runs, times }) => ({ argvShape, runs, times }))).toEqual([
      { argvShape: ['git', 'status'], runs: 3, times: 3 },
      { argvShape: ['git', 'pager'], runs: 3, times: 3 },
    ]);
    expect(sets[1]?.files.map((file) => [file.path, pageCount(file.extents)])).toEqual([
      ['/lib/x86_64-linux-gnu/libc.so.6', 8],
    ]);
  });
});
