import fc from 'fast-check';
import { expect, it } from 'vitest';
import { AddressBits } from './address-bits.ts';

const RANGES = [
  { start: 0x1000, end: 0x1025 },
  { start: 0x2001, end: 0x2040 },
];
const ADDRESSES = [...Array(0x60).keys()].flatMap((i) => [0xff0 + i, 0x1ff0 + i]);

it('AddressBits is a set of addresses, without those outside of its ranges', () => {
  const address = fc.constantFrom(...ADDRESSES);
  const action = fc.oneof(
    fc.record({ kind: fc.constantFrom('set', 'clear'), at: address, end: fc.constant(0) }),
    fc.record({ kind: fc.constant('range'), at: address, end: address }),
  );
  fc.assert(
    fc.property(fc.array(action), (actions) => {
      const bits = new AddressBits(RANGES);
      const set = new Set<number>();
      const isInside = (at: number): boolean => RANGES.some(({ start, end }) => at >= start && at < end);
      for (const { kind, at, end } of actions) {
        if (kind === 'range') {
          bits.setRange(at, end);
          for (let i = at; i < end; i++) if (isInside(i)) set.add(i);
        } else if (kind === 'set') {
          bits.set(at);
          if (isInside(at)) set.add(at);
        } else {
          bits.clear(at);
          set.delete(at);
        }
      }
      expect(ADDRESSES.filter((at) => bits.has(at))).toEqual(ADDRESSES.filter((at) => set.has(at)));
    }),
  );
});
