import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pageIndex } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import type { PlannedFile, PrefetchPlan, Task } from '../prefetch/model.ts';
import { decodePlan } from './plan-decode.ts';
import { encodePlan } from './plan-encode.ts';
import { ENVELOPE, HEADER, planChecksum } from './plan-layout.ts';

const CASES = process.env.CI ? 100_000 : 2_000;

const path = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => `/${text.replaceAll('\0', '')}`);

const plannedFile: fc.Arbitrary<PlannedFile> = fc
  .record({
    path,
    mtimeNs: fc.bigInt(-(2n ** 62n), 2n ** 62n),
    inode: fc.bigInt(0n, 2n ** 64n - 1n),
    chunkPages: fc.integer({ min: 1, max: 4096 }),
    pieces: fc.array(fc.tuple(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 5000 })), {
      maxLength: 6,
    }),
    rest: fc.integer({ min: 0, max: 10_000 }),
  })
  .map(({ pieces, rest, ...file }) => {
    let end = -1;
    const extents = pieces.map(([gap, count]) => {
      const page = end + gap;
      end = page + count;
      return { page: pageIndex(page), count };
    });
    return { ...file, extents, size: Math.max(end, 0) * 4096 + rest };
  });

const plan: fc.Arbitrary<PrefetchPlan> = fc
  .record({
    workers: fc.integer({ min: 1, max: 16 }),
    files: fc.array(plannedFile, { maxLength: 8 }),
    lookups: fc.array(fc.record({ path, found: fc.boolean() }), { maxLength: 12 }),
    probes: fc.array(fc.record({ path, page: fc.nat(2 ** 32 - 1) }), { maxLength: 40 }),
    picks: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(), fc.boolean()), { maxLength: 12 }),
  })
  .map(({ picks, ...parts }) => {
    const tasks = picks.flatMap(([which, first, count, isFile]): Task[] => {
      const file = which % Math.max(parts.files.length, 1);
      const rows = isFile ? (parts.files[file]?.extents.length ?? 0) : parts.lookups.length;
      if (rows === 0) return [];
      const from = first % rows;
      const range = { first: from, count: 1 + (count % (rows - from)) };
      return [isFile ? { kind: 'file', file, ...range } : { kind: 'lookups', ...range }];
    });
    return { ...parts, tasks };
  });

function withChecksums(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.from(bytes);
  const head = copy.readUInt32LE(ENVELOPE.head_size);
  if (head % 8 !== 0 || head < HEADER.size || head > copy.length) return copy;
  copy.writeBigUInt64LE(planChecksum(copy.subarray(head)), HEADER.body_checksum);
  copy.writeBigUInt64LE(planChecksum(copy.subarray(ENVELOPE.size, head)), ENVELOPE.head_checksum);
  return copy;
}

const failure = (bytes: Uint8Array): string => {
  try {
    decodePlan(bytes, 'plan.bin');
  } catch (error) {
    if (error instanceof WinnowError) return error.code;
    throw error;
  }
  return 'none';
};

const small: PrefetchPlan = {
  workers: 4,
  files: [
    {
      path: '/usr/bin/git',
      size: 40_960,
      mtimeNs: 1_700_000_000_123_456_789n,
      inode: 77n,
      chunkPages: 512,
      extents: [
        { page: pageIndex(0), count: 3 },
        { page: pageIndex(7), count: 2 },
      ],
    },
  ],
  lookups: [{ path: '/etc/gitconfig', found: false }],
  tasks: [
    { kind: 'lookups', first: 0, count: 1 },
    { kind: 'file', file: 0, first: 0, count: 2 },
  ],
  probes: [{ path: '/usr/bin/git', page: 8 }],
};

describe('plan.bin', () => {
  it('is read back as it was written', () => {
    fc.assert(
      fc.property(plan, (one) => {
        expect(decodePlan(encodePlan(one), 'plan.bin')).toEqual(one);
      }),
      { numRuns: Math.min(CASES, 5000) },
    );
  });

  it('holds a string once, however often it is used', () => {
    const lookups = Array.from({ length: 100 }, () => ({ path: '/a/rather/long/path', found: false }));
    const more =
      encodePlan({ ...small, lookups }).length - encodePlan({ ...small, lookups: lookups.slice(1) }).length;
    expect(more).toBe(8);
  });

  it('leaves out probes that do not fit the head', () => {
    const probes = Array.from({ length: 120 }, (_, index) => ({
      path: `/${index}/${'x'.repeat(300)}`,
      page: index,
    }));
    const read = decodePlan(encodePlan({ ...small, probes }), 'plan.bin');
    expect(read.probes.length).toBeGreaterThan(20);
    expect(read.probes).toEqual(probes.slice(0, read.probes.length));
  });

  it('refuses what breaks a limit of the format', () => {
    expect(() => encodePlan({ ...small, workers: 17 })).toThrow(RangeError);
    const [file] = small.files;
    expect(() => encodePlan({ ...small, files: file ? [{ ...file, chunkPages: 5000 }] : [] })).toThrow(
      RangeError,
    );
  });

  it('says what is wrong: truncated, damaged, newer', () => {
    const bytes = Buffer.from(encodePlan(small));
    const edited = (edit: (copy: Buffer) => void): Buffer => {
      const copy = Buffer.from(bytes);
      edit(copy);
      return copy;
    };
    expect(failure(bytes)).toBe('none');
    expect(failure(bytes.subarray(0, 0))).toBe('E_PLAN_TRUNCATED');
    expect(failure(bytes.subarray(0, bytes.length - 1))).toBe('E_PLAN_TRUNCATED');
    expect(failure(Buffer.concat([bytes, Buffer.alloc(8)]))).toBe('E_PLAN_DAMAGED');
    expect(failure(edited((copy) => copy.writeUInt8(0, 0)))).toBe('E_PLAN_DAMAGED');
    expect(failure(edited((copy) => copy.writeUInt32LE(2, ENVELOPE.version)))).toBe('E_PLAN_NEWER');
    expect(failure(edited((copy) => copy.writeUInt32LE(0, ENVELOPE.version)))).toBe('E_PLAN_DAMAGED');
  });

  it('finds every flipped bit', () => {
    const bytes = Buffer.from(encodePlan(small));
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const copy = Buffer.from(bytes);
      copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(failure(copy), `bit ${bit}`).toMatch(/^E_PLAN_/);
    }
  });

  it(`fails with an error of its own on any damage, checksums right or wrong (${CASES} cases)`, () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 0xff, 0x7f))), {
      minLength: 1,
      maxLength: 6,
    });
    const bytes = encodePlan(small);
    const codes = new Set(['none', 'E_PLAN_TRUNCATED', 'E_PLAN_DAMAGED', 'E_PLAN_NEWER']);
    fc.assert(
      fc.property(edits, fc.boolean(), fc.option(fc.nat(bytes.length)), (changes, isRight, cut) => {
        const copy = Buffer.from(cut === null ? bytes : bytes.subarray(0, cut));
        for (const [at, value] of changes) if (copy.length > 0) copy.writeUInt8(value, at % copy.length);
        const isLong = copy.length >= HEADER.size && copy.length % 8 === 0;
        expect(codes).toContain(failure(isRight && isLong ? withChecksums(copy) : copy));
      }),
      { numRuns: CASES },
    );
  });
});
