import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WinnowError } from '../base/errors.ts';
import { decodeModules } from './modules-decode.ts';
import { encodeModules, writeModulesTable } from './modules-encode.ts';
import { COLD_MODES, MODULE_ROLES, MODULES_HEADER, MODULES_MAX, SHOW_MODES } from './modules-layout.ts';
import type { ModulesTable, ShownModule } from './modules-model.ts';
import { ENVELOPE, planChecksum } from './plan-layout.ts';

const CASES = process.env.CI ? 100_000 : 2_000;

const word = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  .map((text) => text.replaceAll(/[\0/]/g, '_'));

const module: fc.Arbitrary<ShownModule> = fc.record(
  {
    path: word.map((text) => `/${text}`),
    identity: fc.record({
      size: fc.maxSafeNat(),
      mtimeNs: fc.bigInt(-(2n ** 62n), 2n ** 62n),
      inode: fc.bigInt(0n, 2n ** 64n - 1n),
    }),
    replacement: word,
    replacementSize: fc.maxSafeNat(),
    role: fc.constantFrom(...MODULE_ROLES),
    usesOrigin: fc.boolean(),
    linked: fc.constantFrom('by-its-name' as const, 'by-any-name' as const),
  },
  { requiredKeys: ['path', 'identity', 'replacement', 'replacementSize', 'role', 'usesOrigin'] },
);

const table: fc.Arbitrary<ModulesTable> = fc.record({
  show: fc.constantFrom(...SHOW_MODES),
  cold: fc.constantFrom(...COLD_MODES),
  modules: fc.uniqueArray(module, { maxLength: 12, selector: ({ path }) => path }),
});

const small: ShownModule = {
  path: '/usr/lib/libfoo.so.1.2.3',
  identity: { size: 40_960, mtimeNs: 1_700_000_000_123_456_789n, inode: 77n },
  replacement: 'libfoo.so.1.2.3',
  replacementSize: 50_000,
  role: 'library',
  usesOrigin: false,
};

const failure = (bytes: Uint8Array): string => {
  try {
    decodeModules(bytes, 'modules.bin');
  } catch (error) {
    if (error instanceof WinnowError) return error.code;
    throw error;
  }
  return 'none';
};

function withChecksum(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.from(bytes);
  copy.writeBigUInt64LE(planChecksum(copy.subarray(ENVELOPE.size)), ENVELOPE.head_checksum);
  return copy;
}

const byInode = (modules: readonly ShownModule[]) =>
  [...modules].sort((a, b) => (a.identity.inode < b.identity.inode ? -1 : 1));

describe('modules.bin', () => {
  it('is read back as it was written, by ascending inode', () => {
    fc.assert(
      fc.property(table, (one) => {
        const read = decodeModules(encodeModules(one), 'modules.bin');
        const inodes = read.modules.map(({ identity }) => identity.inode);
        expect(inodes).toEqual(byInode(one.modules).map(({ identity }) => identity.inode));
        const sorted = (modules: readonly ShownModule[]) =>
          [...modules].sort((a, b) => (a.path < b.path ? -1 : 1));
        expect({ ...read, modules: sorted(read.modules) }).toEqual({ ...one, modules: sorted(one.modules) });
      }),
      { numRuns: Math.min(CASES, 5000) },
    );
  });

  it('may be empty', () => {
    expect(decodeModules(writeModulesTable([]), 'modules.bin')).toEqual({
      show: 'auto',
      cold: 'file',
      modules: [],
    });
  });

  it.each([
    ['a relative path', [{ ...small, path: 'lib/libfoo.so' }]],
    ['a replacement in another folder', [{ ...small, replacement: '../libfoo.so' }]],
    ['a replacement without a name', [{ ...small, replacement: '' }]],
    ['a module that is there twice', [small, { ...small, replacement: 'other' }]],
    [
      'too many modules',
      Array.from({ length: MODULES_MAX + 1 }, (_, index) => ({ ...small, path: `/${index}` })),
    ],
    [
      'names that are too long together',
      Array.from({ length: 2000 }, (_, index) => ({ ...small, path: `/${index}/${'x'.repeat(3000)}` })),
    ],
  ])('is not written with %s', (_what, modules) => {
    expect(() => writeModulesTable(modules)).toThrow(RangeError);
  });

  it('says what is wrong: truncated, damaged, newer', () => {
    const bytes = Buffer.from(writeModulesTable([small]));
    const edited = (edit: (copy: Buffer) => void): Buffer => {
      const copy = Buffer.from(bytes);
      edit(copy);
      return copy;
    };
    expect(failure(bytes)).toBe('none');
    expect(failure(bytes.subarray(0, 0))).toBe('E_MODULES_TRUNCATED');
    expect(failure(bytes.subarray(0, bytes.length - 8))).toBe('E_MODULES_TRUNCATED');
    expect(failure(Buffer.concat([bytes, Buffer.alloc(8)]))).toBe('E_MODULES_DAMAGED');
    expect(failure(edited((copy) => copy.writeUInt8(0, 0)))).toBe('E_MODULES_DAMAGED');
    expect(failure(edited((copy) => copy.writeUInt32LE(3, ENVELOPE.version)))).toBe('E_MODULES_NEWER');
    expect(failure(edited((copy) => copy.writeUInt32LE(0, ENVELOPE.version)))).toBe('E_MODULES_DAMAGED');
  });

  it('has the older version where no program is linked', () => {
    const versionOf = (one: ShownModule): number =>
      Buffer.from(writeModulesTable([one])).readUInt32LE(ENVELOPE.version);
    expect([small, { ...small, linked: 'by-its-name' as const }].map(versionOf)).toEqual([1, 2]);
  });

  it('finds every flipped bit', () => {
    const bytes = Buffer.from(writeModulesTable([small]));
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const copy = Buffer.from(bytes);
      copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(failure(copy), `bit ${bit}`).toMatch(/^E_MODULES_/);
    }
  });

  it(`fails with an error of its own on any damage, checksum right or wrong (${CASES} cases)`, () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 0xff, 0x7f))), {
      minLength: 1,
      maxLength: 6,
    });
    const bytes = writeModulesTable([small, { ...small, path: '/b', role: 'program', usesOrigin: true }]);
    const codes = new Set(['none', 'E_MODULES_TRUNCATED', 'E_MODULES_DAMAGED', 'E_MODULES_NEWER']);
    fc.assert(
      fc.property(edits, fc.boolean(), fc.option(fc.nat(bytes.length)), (changes, isRight, cut) => {
        const copy = Buffer.from(cut === null ? bytes : bytes.subarray(0, cut));
        for (const [at, value] of changes) if (copy.length > 0) copy.writeUInt8(value, at % copy.length);
        const isLong = copy.length >= MODULES_HEADER.size && copy.length % 8 === 0;
        expect(codes).toContain(failure(isRight && isLong ? withChecksum(copy) : copy));
      }),
      { numRuns: CASES },
    );
  });
});
