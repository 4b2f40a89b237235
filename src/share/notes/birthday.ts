/**
 * How likely it is that hashes collide.
 *
 * Problem: modules at addresses, or imports in slots, that are hashes of their names: from how many on do two meet?
 * Example: of 37 modules with hashes of 16 bits two meet with 1.01 %, of 36 with 0.96 %.
 * Method: 1 - (1 - 0/s)(1 - 1/s)...(1 - (n-1)/s), as a sum of logarithms, so that small figures keep their digits.
 * Limits: hashes that are evenly spread, and names that nobody has chosen.
 */

/** Probability that two of `count` share one of `slots`. */
export function collisionProbability(count: number, slots: number): number {
  if (count > slots) return 1;
  let log = 0;
  for (let i = 1; i < count; i++) log += Math.log1p(-i / slots);
  return -Math.expm1(log);
}

/** The least count whose probability is above `probability`, which is below 1. */
export function firstCountAbove(probability: number, slots: number): number {
  const bound = Math.log1p(-probability);
  let log = 0;
  let count = 1;
  while (log >= bound) log += Math.log1p(-count++ / slots);
  return count;
}
