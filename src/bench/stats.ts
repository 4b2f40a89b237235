/**
 * Statistics of repeated runs: medians, spreads, paired ratios with an interval. Pure.
 *
 * Problem: run times on a shared machine have outliers on one side and drift over minutes, so means and
 * differences of means mislead.
 * Method: the modes run in random order within each round, and the ratio is taken within the round;
 * drift then hits both alike. The median of these ratios is the figure, its interval comes from the
 * percentile bootstrap (resample rounds with replacement, take the median, cut 2.5 % at both ends).
 * Limits: with fewer than six rounds the interval of a median is close to the range of the values.
 */

export interface Summary {
  readonly count: number;
  readonly median: number;
  /** Median absolute deviation from the median, not scaled. */
  readonly mad: number;
  readonly min: number;
  readonly max: number;
  /** First and third quartile. */
  readonly quartiles: readonly [number, number];
}

export interface RatioSummary {
  readonly median: number;
  /** 95 % bootstrap interval of the median. */
  readonly interval: readonly [number, number];
  readonly count: number;
}

/** Values in ascending order. */
export const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

/** The value below which `part` (0 to 1) of the values lie, interpolated. NaN of no values. */
export function quantile(values: readonly number[], part: number): number {
  return quantileOfSorted(ascending(values), part);
}

function quantileOfSorted(sorted: ArrayLike<number>, part: number): number {
  const at = (sorted.length - 1) * part;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  // Infinity minus itself is NaN: two equal neighbours need no interpolation.
  return below === above ? below : below + (above - below) * (at - Math.floor(at));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export function summarize(values: readonly number[]): Summary {
  const middle = median(values);
  return {
    count: values.length,
    median: middle,
    mad: median(values.map((value) => Math.abs(value - middle))),
    min: quantile(values, 0),
    max: quantile(values, 1),
    quartiles: [quantile(values, 0.25), quantile(values, 0.75)],
  };
}

/** exp of the mean logarithm; NaN of no values. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Numbers in [0, 1) that a seed decides (mulberry32): reports must come out the same twice. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x100000000;
  };
}

/** A new list in random order (Fisher-Yates). */
export function shuffled<T>(values: readonly T[], random: () => number): T[] {
  const left = [...values];
  const result: T[] = [];
  while (left.length > 0) result.push(...left.splice(Math.floor(random() * left.length), 1));
  return result;
}

const RESAMPLES = 2000;

/** How many times `base` is of `other`, round by round: above 1 where `other` is the faster. */
export function pairedRatio(base: readonly number[], other: readonly number[], seed = 1): RatioSummary {
  const count = Math.min(base.length, other.length);
  const ratios = Array.from({ length: count }, (_, i) => (base[i] ?? Number.NaN) / (other[i] ?? Number.NaN));
  return { median: median(ratios), interval: bootstrapMedian(ratios, seed), count };
}

/** 95 % percentile bootstrap interval of the median. */
export function bootstrapMedian(values: readonly number[], seed = 1): readonly [number, number] {
  if (values.length === 0) return [Number.NaN, Number.NaN];
  const random = randomFrom(seed);
  const medians = new Float64Array(RESAMPLES);
  const sample = new Float64Array(values.length);
  for (let i = 0; i < RESAMPLES; i += 1) {
    for (let j = 0; j < sample.length; j += 1) {
      sample[j] = values[Math.floor(random() * values.length)] ?? Number.NaN;
    }
    medians[i] = quantileOfSorted(sample.sort(), 0.5);
  }
  medians.sort();
  return [quantileOfSorted(medians, 0.025), quantileOfSorted(medians, 0.975)];
}

/** How many values lie more than three MADs (scaled to a standard deviation) above the median. */
export function slowOutliers(values: readonly number[]): number {
  const { median: middle, mad } = summarize(values);
  return values.filter((value) => value > middle + 3 * 1.4826 * mad).length;
}
