import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../test/support/c-layout.ts';
import { decodeMisses, MISS, MISSES_MAX } from './misses.ts';

describe('the layout of misses', () => {
  const seen = compiledLayout({ header: 'misses.h', structs: { miss: MISS }, constants: ['MISSES_MAX'] });

  it('is that of the compiler', () => {
    expectSameFields(seen, 'miss', MISS);
    expectNoGap('miss', MISS);
    expectSameConstants(seen, { MISSES_MAX });
  });
});

const encode = (misses: readonly (readonly [number, number])[]): Buffer => {
  const bytes = Buffer.alloc(misses.length * MISS.size);
  misses.forEach(([what, index], at) => {
    bytes.writeUInt32LE(what, at * MISS.size + MISS.what);
    bytes.writeUInt32LE(index, at * MISS.size + MISS.index);
  });
  return bytes;
};

describe('misses', () => {
  it('are counted by cause, most first', () => {
    const bytes = encode([
      [9, 3],
      [1, 0],
      [9, 3],
      [9, 4],
      [9, 3],
      [1, 0],
    ]);
    const causes = [
      { what: 9, index: 3, count: 3 },
      { what: 1, index: 0, count: 2 },
      { what: 9, index: 4, count: 1 },
    ];
    expect(decodeMisses(bytes)).toEqual({ causes, count: 6, isFull: false });
    // Cut off: the launcher adds nothing to such a file.
    expect(decodeMisses(Buffer.concat([bytes, Buffer.alloc(3)]))).toEqual({ causes, count: 6, isFull: true });
    expect(decodeMisses(Buffer.alloc(0))).toEqual({ causes: [], count: 0, isFull: false });
    expect(decodeMisses(Buffer.alloc(MISSES_MAX - MISS.size)).isFull).toBe(false);
    expect(decodeMisses(Buffer.alloc(MISSES_MAX)).isFull).toBe(true);
  });

  it('are none too many and none too few', () => {
    const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    const few = fc.integer({ min: 0, max: 3 });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.oneof(few, word), fc.oneof(few, word))), (misses) => {
        const { causes, count } = decodeMisses(encode(misses));
        expect(
          causes
            .flatMap(({ what, index, count: times }) =>
              Array.from({ length: times }, () => `${what} ${index}`),
            )
            .sort(),
        ).toEqual(misses.map(([what, index]) => `${what} ${index}`).sort());
        expect(count).toBe(misses.length);
      }),
    );
  });
});
