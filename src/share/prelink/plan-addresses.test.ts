import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fileOffset, rva } from '../../base/brands.ts';
import { PT_LOAD } from '../../elf/spec.ts';
import { nameHash } from '../notes/name-hash.ts';
import {
  type AddressScheme,
  END_OF_ADDRESSES,
  FIRST_ADDRESS,
  type Placed,
  planAddresses,
} from './plan-addresses.ts';

/** A library of one segment. */
function library(name: string, size: number, align = 4096, first = 0): Placed {
  const at = rva(first);
  const segment = { index: 0, type: PT_LOAD, flags: 5, offset: fileOffset(0), rva: at, physical: 0 };
  return { name, image: { segments: [{ ...segment, fileSize: size, memSize: size, align }] } };
}

const PLACE = 2 ** 31;

describe('planned addresses', () => {
  it('are where the name says, the same in every program', () => {
    const scheme = { how: 'by name', bits: 16 } as const;
    const z = library('libz.so.1', 100_000);
    const alone = planAddresses([z], scheme).bases.get(z);
    expect(alone).toBe(((nameHash('libz.so.1', 16) % (40960 - 32)) + 32) * PLACE);
    const others = [library('liba.so', 5000), library('libb.so', 2 ** 21)];
    expect(planAddresses([...others, z], scheme).bases.get(z)).toBe(alone);
  });

  it('go to the next place where a name’s place is taken, and say so', () => {
    const [one, two, three] = [library('same', 5000), library('same', 5000), library('same', 5000)];
    const { bases, moved } = planAddresses([one, two, three], { how: 'by name', bits: 16 });
    const first = bases.get(one) ?? 0;
    expect([bases.get(two), bases.get(three)]).toEqual([first + PLACE, first + 2 * PLACE]);
    expect(moved).toEqual([
      [two, one],
      [three, one],
    ]);
  });

  it('leave room for what the loader asks for to align', () => {
    const large = library('large', 4096, 2 ** 21);
    const next = library('next', 4096);
    const { bases } = planAddresses([large, next], { how: 'side by side', from: FIRST_ADDRESS });
    expect((bases.get(next) ?? 0) - (bases.get(large) ?? 0)).toBe(2 ** 22);
  });

  it('are none where there is no room', () => {
    const huge = library('huge', END_OF_ADDRESSES);
    expect(planAddresses([huge], { how: 'side by side', from: FIRST_ADDRESS }).without).toEqual([huge]);
  });

  it('never overlap, and keep alignments and the range', () => {
    const anyLibrary = fc
      .tuple(
        fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
        fc.integer({ min: 1, max: 2 ** 33 }),
        fc.constantFrom(4096, 65536, 2 ** 21, 2 ** 30),
        fc.constantFrom(0, 0x1000, 0x400000),
      )
      .map(([name, size, align, first]) => library(name, size, align, first));
    const scheme: fc.Arbitrary<AddressScheme> = fc.oneof(
      fc.constantFrom(12, 16, 19).map((bits) => ({ how: 'by name', bits }) as const),
      fc.constantFrom(FIRST_ADDRESS, 2 ** 40).map((from) => ({ how: 'side by side', from }) as const),
    );
    fc.assert(
      fc.property(fc.array(anyLibrary, { maxLength: 12 }), scheme, (libraries, how) => {
        const { bases, without } = planAddresses(libraries, how);
        expect(without).toEqual([]);
        const spans = libraries.map((one) => {
          const [segment] = one.image.segments;
          const base = bases.get(one) ?? Number.NaN;
          expect(base % (segment?.align ?? 1)).toBe(0);
          const start = base + (segment?.rva ?? 0);
          return { start: start - (start % 4096), end: start + (segment?.memSize ?? 0) };
        });
        for (const [i, { start, end }] of spans.entries()) {
          expect(start).toBeGreaterThanOrEqual(FIRST_ADDRESS);
          expect(end).toBeLessThanOrEqual(END_OF_ADDRESSES);
          for (const other of spans.slice(i + 1)) expect(start < other.end && other.start < end).toBe(false);
        }
      }),
    );
  });
});
