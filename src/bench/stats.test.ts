import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bootstrapMedian,
  geometricMean,
  median,
  pairedRatio,
  quantile,
  randomFrom,
  shuffled,
  slowOutliers,
  summarize,
} from './stats.ts';

const times = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 40 });

describe('summaries', () => {
  it('gives known values', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([0, 10], 0.25)).toBe(2.5);
    expect(geometricMean([1, 4])).toBeCloseTo(2, 12);
    expect(summarize([1, 2, 3, 4, 100])).toEqual({
      count: 5,
      median: 3,
      mad: 1,
      min: 1,
      max: 100,
      quartiles: [2, 4],
    });
    expect(slowOutliers([10, 11, 10, 9, 10.5, 50])).toBe(1);
    expect(median([])).toBeNaN();
  });

  it('keeps the median between the ends, whatever the order', () => {
    fc.assert(
      fc.property(times, fc.integer(), (values, seed) => {
        const { median: middle, min, max } = summarize(values);
        expect(middle).toBeGreaterThanOrEqual(min);
        expect(middle).toBeLessThanOrEqual(max);
        expect(median(shuffled(values, randomFrom(seed)))).toBe(middle);
      }),
    );
  });
});

describe('paired ratios', () => {
  it('finds a constant factor exactly, however the rounds drift', () => {
    const base = [10, 20, 40, 80];
    const ratio = pairedRatio(
      base,
      base.map((value) => value / 2),
    );
    expect(ratio).toEqual({ median: 2, interval: [2, 2], count: 4 });
  });

  it('puts the interval within the range of the values, the same for the same seed', () => {
    fc.assert(
      fc.property(times, (values) => {
        const [low, high] = bootstrapMedian(values, 7);
        expect(low).toBeGreaterThanOrEqual(Math.min(...values));
        expect(high).toBeLessThanOrEqual(Math.max(...values));
        expect(low).toBeLessThanOrEqual(high);
        expect(bootstrapMedian(values, 7)).toEqual([low, high]);
      }),
      { numRuns: 25 },
    );
  });

  it('covers the true median about as often as it says', () => {
    const random = randomFrom(3);
    let covered = 0;
    for (let trial = 0; trial < 200; trial += 1) {
      const [low, high] = bootstrapMedian(
        Array.from({ length: 15 }, () => 1 + random() ** 3),
        trial,
      );
      if (low <= 1.125 && 1.125 <= high) covered += 1;
    }
    expect(covered).toBeGreaterThan(170);
  });
});

describe('shuffled', () => {
  it('keeps every value', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.integer(), (values, seed) => {
        expect(shuffled(values, randomFrom(seed)).sort()).toEqual([...values].sort());
      }),
    );
  });
});
