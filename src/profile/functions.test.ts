import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arbitraryProfile, gitFunctionsRun, gitProfile, gitRun } from '../../test/profile-samples.ts';
import { rva } from '../base/brands.ts';
import { functionsUsed } from './functions.ts';
import { sameContent } from './identity.ts';
import type { Profile } from './model.ts';
import { DECAY } from './stats.ts';

describe('functionsUsed', () => {
  it('begins with the newest run, then what only older ones entered', () => {
    const older = gitFunctionsRun(2, { entered: [{ file: 0, entries: [0x9000, 0x4000].map(rva) }] });
    // A run that did not look for functions counts for nothing, not even an age.
    const used = functionsUsed({ name: 'x', runs: [gitFunctionsRun(0), gitRun(1), older] });
    expect(used).toMatchObject({ runs: 2, fullWeight: 1 + DECAY });
    expect(used.files.map(({ path }) => path)).toEqual(['/usr/bin/git', '/lib/x86_64-linux-gnu/libc.so.6']);
    expect(used.files[0]).toMatchObject({ runs: 2, otherRuns: 0 });
    expect(used.files[0]?.entries).toEqual([
      { entry: 0x4000, hits: 2, weight: 1 + DECAY },
      { entry: 0x5120, hits: 1, weight: 1 },
      { entry: 0x4810, hits: 1, weight: 1 },
      { entry: 0x40c0, hits: 1, weight: 1 },
      { entry: 0x9000, hits: 1, weight: DECAY },
    ]);
  });

  it('counts only the newest content of a file', () => {
    const [git, ...rest] = gitRun(0).files;
    if (git === undefined) throw new Error('no file');
    const rebuilt = { ...git, identity: { ...git.identity, size: 1, buildId: 'c0ffee' } };
    const runs = [gitFunctionsRun(0, { files: [rebuilt, ...rest] }), gitFunctionsRun(1)];
    const [file] = functionsUsed({ name: 'x', runs }).files;
    expect(file).toMatchObject({ identity: { buildId: 'c0ffee' }, runs: 1, otherRuns: 1 });
    expect(file?.entries.map(({ hits }) => hits)).toEqual([1, 1, 1, 1]);
  });

  it('has nothing to say of runs without functions', () => {
    expect(functionsUsed(gitProfile())).toEqual({ runs: 0, fullWeight: 0, files: [] });
  });

  it('agrees with counting one by one', () => {
    fc.assert(fc.property(arbitraryProfile(true, 16), (profile) => expectSameAsCounting(profile)));
  });
});

/** The plain way: every entry looked for in every run. */
function expectSameAsCounting(profile: Profile): void {
  const runs = profile.runs.filter(({ method }) => method.functions === 'seen');
  const used = functionsUsed(profile);
  const paths = new Set(runs.flatMap((run) => run.entered.map(({ file }) => run.files[file]?.path)));
  expect(new Set(used.files.map(({ path }) => path))).toEqual(paths);
  for (const file of used.files) {
    const lists = runs.map((run) => {
      const first = run.entered.find(({ file: index }) => run.files[index]?.path === file.path);
      const identity = first === undefined ? undefined : run.files[first.file]?.identity;
      return identity !== undefined && sameContent(identity, file.identity) ? (first?.entries ?? []) : [];
    });
    expect(new Set(file.entries.map(({ entry }) => entry))).toEqual(new Set(lists.flat()));
    for (const { entry, hits, weight } of file.entries) {
      const ages = lists.flatMap((list, age) => (list.includes(entry) ? [age] : []));
      expect(hits).toBe(ages.length);
      expect(weight).toBeCloseTo(ages.reduce((sum, age) => sum + DECAY ** age, 0));
    }
    const newest = lists.find((list) => list.length > 0) ?? [];
    expect(file.entries.slice(0, newest.length).map(({ entry }) => entry)).toEqual(newest);
  }
}
