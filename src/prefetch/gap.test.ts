import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ReadRates } from '../sys/read-rate.ts';
import { chooseGap } from './gap.ts';

const slow = (requestsPerSecond: number, bytesPerSecond: number): (() => ReadRates) => {
  return () => ({ kind: 'slow', requestsPerSecond, bytesPerSecond });
};
const never = (): ReadRates => {
  throw new Error('measured');
};

describe('chooseGap', () => {
  it('takes bandwidth over requests on slow devices, in steps', () => {
    expect(chooseGap(undefined, false, slow(500, 100e6)).gapPages).toBe(48);
    expect(chooseGap(undefined, false, slow(500, 60e6)).gapPages).toBe(24);
    expect(chooseGap(undefined, false, slow(120, 25e6)).gapPages).toBe(48);
    expect(chooseGap(undefined, false, slow(1000, 50e6)).gapPages).toBe(12);
    expect(chooseGap(undefined, false, slow(1000, 10e6)).gapPages).toBe(4);
    expect(chooseGap(undefined, false, slow(100, 1e9)).gapPages).toBe(192);
  });

  it('takes the same step where a seventh more or less of either was measured', () => {
    const about = (value: number) => fc.double({ min: value * 0.85, max: value * 1.15, noNaN: true });
    const same = fc.property(about(500), about(100e6), (requests, bytes) => {
      expect(chooseGap(undefined, false, slow(requests, bytes)).gapPages).toBe(48);
    });
    fc.assert(same);
  });

  it('keeps small gaps on fast devices, and where nothing is known', () => {
    expect(chooseGap(undefined, false, () => ({ kind: 'fast' }))).toEqual({
      gapPages: 4,
      why: { kind: 'fast' },
    });
    const kept = { kind: 'kept', reason: 'no-direct-reads' } as const;
    expect(chooseGap(undefined, false, () => kept)).toEqual({ gapPages: 4, why: kept });
  });

  it('does not measure where a person or the kernel knows', () => {
    expect(chooseGap(7, true, never)).toEqual({ gapPages: 7, why: { kind: 'asked' } });
    expect(chooseGap(undefined, true, never)).toEqual({ gapPages: 64, why: { kind: 'rotational' } });
  });
});
