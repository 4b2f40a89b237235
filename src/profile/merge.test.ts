import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arbitraryProfile, gitProfile, gitRun } from '../../test/profile-samples.ts';
import { mergeRuns } from './merge.ts';
import { type Profile, RUNS_KEPT } from './model.ts';

// Few ids and few times: the same id with other content, and ties, in nearly every case.
const profile = arbitraryProfile(true, 20);

/** As `winnow profile merge` does it, under a name that does not depend on the order either. */
function mergeProfiles(a: Profile, b: Profile): Profile {
  const [name = a.name] = [a.name, b.name].sort();
  return { name, runs: mergeRuns([...a.runs, ...b.runs]) };
}

describe('merging profiles', () => {
  it('is commutative', () => {
    fc.assert(
      fc.property(profile, profile, (a, b) => {
        expect(mergeProfiles(a, b)).toEqual(mergeProfiles(b, a));
      }),
    );
  });

  it('is associative', () => {
    fc.assert(
      fc.property(profile, profile, profile, (a, b, c) => {
        expect(mergeProfiles(mergeProfiles(a, b), c)).toEqual(mergeProfiles(a, mergeProfiles(b, c)));
      }),
    );
  });

  it('is idempotent, and an empty profile adds nothing', () => {
    fc.assert(
      fc.property(profile, (a) => {
        expect(mergeProfiles(a, a)).toEqual(a);
        expect(mergeProfiles(a, { name: 'any', runs: [] })).toEqual(a);
      }),
    );
  });

  it('keeps the newest runs', () => {
    const old = {
      name: 'git-status',
      runs: mergeRuns(Array.from({ length: 12 }, (_, age) => gitRun(age + 10))),
    };
    const merged = mergeProfiles(old, gitProfile());
    const more = mergeProfiles(merged, { name: 'git-status', runs: [gitRun(3), gitRun(4)] });
    expect(merged.runs.length).toBe(15);
    expect(more.runs.length).toBe(RUNS_KEPT);
    expect(more.runs.slice(0, 6).map((run) => run.id)).toEqual(
      [0, 1, 2, 3, 4, 10].map((age) => gitRun(age).id),
    );
  });

  it('keeps light runs apart: the newest few, and none in place of another', () => {
    const method = { ...gitRun(0).method, pages: 'fault-around', lookups: 'unseen' } as const;
    const runs = Array.from({ length: 40 }, (_, age) => gitRun(age, age < 20 ? { method } : {}));
    const kept = mergeRuns(runs);
    expect(kept.map(({ id }) => id)).toEqual(
      [0, 1, 2, 3, ...Array.from({ length: RUNS_KEPT }, (_, n) => 20 + n)].map((age) => gitRun(age).id),
    );
    expect(mergeRuns([gitRun(0), gitRun(0, { method })])).toHaveLength(2);
  });

  it('is associative where a forged run with a known id would slip past the cut', () => {
    const many = (from: number) => ({
      name: 'x',
      runs: mergeRuns(Array.from({ length: 16 }, (_, n) => gitRun(from + n))),
    });
    const real = { name: 'x', runs: [gitRun(0)] };
    const forged = { name: 'x', runs: [gitRun(0, { startedAt: 1 })] };
    const left = mergeProfiles(mergeProfiles(real, forged), many(1));
    const right = mergeProfiles(real, mergeProfiles(forged, many(1)));
    expect(left).toEqual(right);
    expect(left.runs[0]).toEqual(gitRun(0));
  });
});
