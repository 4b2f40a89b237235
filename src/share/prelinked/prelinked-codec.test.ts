import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WinnowError } from '../../base/errors.ts';
import type { PrelinkedProgram } from './model.ts';
import { decodePrelinked } from './prelinked-decode.ts';
import { encodePrelinked } from './prelinked-encode.ts';

const stamp = {
  size: fc.nat(),
  mtimeNs: fc.bigInt(-(10n ** 18n), 4n * 10n ** 18n),
  inode: fc.bigInt(0n, 2n ** 64n - 1n),
};
const name = fc.stringMatching(/^[a-z0-9é.-]{1,20}$/);
const module = fc.record({
  ...stamp,
  path: name.map((text) => `/lib/${text}`),
  copy: fc.option(fc.record({ file: name, size: fc.nat(), dynamic: fc.integer({ min: 1, max: 2 ** 46 }) }), {
    nil: undefined,
  }),
});
const program: fc.Arbitrary<PrelinkedProgram> = fc.record({
  ...stamp,
  area: fc.record({ start: fc.nat(), size: fc.nat() }),
  modules: fc.array(module, { maxLength: 6 }),
});
const programs = fc.uniqueArray(program, { maxLength: 5, selector: ({ inode }) => inode });

const one: PrelinkedProgram = {
  size: 1,
  mtimeNs: 2n,
  inode: 3n,
  area: { start: 4096, size: 8192 },
  modules: [
    { size: 5, mtimeNs: 6n, inode: 7n, path: '/a', copy: { file: 'b', size: 8, dynamic: 9 } },
    { size: 10, mtimeNs: 11n, inode: 12n, path: '/c', copy: undefined },
  ],
};

const code = (bytes: Uint8Array): string => {
  try {
    decodePrelinked(bytes, 'prelink.bin');
    return 'good';
  } catch (error) {
    if (error instanceof WinnowError) return error.code;
    throw error;
  }
};

describe('prelink.bin', () => {
  it('reads back as it was, by ascending inode', () => {
    fc.assert(
      fc.property(programs, (all) => {
        const sorted = [...all].sort((a, b) => (a.inode < b.inode ? -1 : 1));
        expect(decodePrelinked(encodePrelinked(all), '')).toEqual(sorted);
      }),
    );
  });

  it('is damaged wherever a byte is another one', () => {
    const bytes = encodePrelinked([one]);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
      expect(code(damaged), `byte ${at}`).toMatch(/^E_PRELINK_(DAMAGED|TRUNCATED|NEWER)$/);
    }
  });

  it('ends early, or is newer', () => {
    const bytes = encodePrelinked([one]);
    for (const size of [0, 31, 47, 48, bytes.length - 8])
      expect(code(bytes.subarray(0, size))).toBe('E_PRELINK_TRUNCATED');
    const newer = Buffer.from(bytes);
    newer.writeUInt32LE(2, 8);
    expect(code(newer)).toBe('E_PRELINK_NEWER');
    newer.writeUInt32LE(0, 8);
    expect(code(newer)).toBe('E_PRELINK_DAMAGED');
  });

  it('is not written with what could not be followed', () => {
    const [first] = one.modules;
    if (first === undefined) throw new Error('no modules');
    const wrong = [
      { ...first, path: 'a' },
      { ...first, copy: { file: 'a/b', size: 1, dynamic: 1 } },
      { ...first, copy: { file: '', size: 1, dynamic: 1 } },
    ];
    for (const entry of wrong)
      expect(() => encodePrelinked([{ ...one, modules: [entry] }])).toThrow(RangeError);
    const many = Array.from({ length: 1025 }, () => first);
    expect(() => encodePrelinked([{ ...one, modules: many }])).toThrow(RangeError);
  });
});
