import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectGolden } from '../../../test/golden.ts';
import { collisionProbability, firstCountAbove } from './birthday.ts';

describe('the birthday bound', () => {
  it('says for each size of hash from how many on two meet', () => {
    const lines = [16, 18, 19, 32].map((bits) => {
      const one = firstCountAbove(0.01, 2 ** bits);
      const half = firstCountAbove(0.5, 2 ** bits);
      const at = (count: number): string => `${(100 * collisionProbability(count, 2 ** bits)).toFixed(3)} %`;
      return `${bits} bits: ${one - 1} ${at(one - 1)}, ${one} ${at(one)}; ${half - 1} ${at(half - 1)}, ${half} ${at(half)}\n`;
    });
    expectGolden('share/birthday.txt', lines.join(''));
  });

  it('is what counting the ways gives', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 400 }), (count, slots) => {
        let apart = 1;
        for (let i = 0; i < count; i++) apart *= Math.max(0, slots - i) / slots;
        expect(collisionProbability(count, slots)).toBeCloseTo(1 - apart, 9);
      }),
    );
  });

  it('finds the first count above, and none before', () => {
    const probability = fc.double({ min: 0.001, max: 0.99, noNaN: true });
    fc.assert(
      fc.property(probability, fc.integer({ min: 2, max: 1 << 20 }), (wanted, slots) => {
        const count = firstCountAbove(wanted, slots);
        // Both sum the same logarithms; the last digit may fall either way.
        expect(collisionProbability(count, slots)).toBeGreaterThan(wanted - 1e-12);
        expect(collisionProbability(count - 1, slots)).toBeLessThanOrEqual(wanted + 1e-12);
      }),
    );
  });
});
