/** Whatever the bytes are, reading them gives an image or a WinnowError, and no table larger than the file. */
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { fileOffset, rva } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { readBuildId } from './build-id.ts';
import type { ElfImage } from './image.ts';
import { probeProgram } from './probe.ts';
import { readElf } from './read.ts';
import * as spec from './spec.ts';

/** Together 200,000 cases in CI, in about half a minute. */
const CI = Boolean(process.env.CI);
const TINY_RUNS = CI ? 120_000 : 1_200;
const REAL_RUNS = CI ? 60_000 : 500;
const RANDOM_RUNS = CI ? 20_000 : 400;
const FILE_RUNS = CI ? 5_000 : 200;

interface Seed {
  readonly bytes: Uint8Array;
  /** Where tables stand: damage there says more than damage to code. */
  readonly regions: readonly (readonly [start: number, size: number])[];
}

function seedOf(bytes: Uint8Array): Seed {
  const image = readElf(bytes, 'seed');
  const { header } = image;
  const tables = image.sections
    .filter(({ type }) => type !== spec.SHT_NOBITS && type !== spec.SHT_PROGBITS && type !== spec.SHT_NULL)
    .map(({ offset, size }) => [offset, size] as const);
  const regions = [
    [0, spec.EHDR_SIZE] as const,
    [header.segmentsAt, header.segmentCount * spec.PHDR_SIZE] as const,
    [header.sectionsAt, header.sectionCount * spec.SHDR_SIZE] as const,
    ...tables,
  ];
  return { bytes, regions: regions.filter(([, size]) => size > 0) };
}

/** Small programs and libraries of this machine. */
function realSeeds(): readonly Seed[] {
  const found: Seed[] = [];
  for (const folder of ['/usr/lib/x86_64-linux-gnu', '/usr/bin', '/bin'].filter((f) => existsSync(f))) {
    for (const name of readdirSync(folder).toSorted()) {
      if (found.length >= 12) return found;
      const path = join(folder, name);
      const stats = statSync(path, { throwIfNoEntry: false });
      if (!stats?.isFile() || stats.size > 24_000 || stats.size < 1_000) continue;
      const bytes = readFileSync(path);
      if (bytes.subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'))) found.push(seedOf(bytes));
    }
  }
  return found;
}

const INTERESTING: readonly bigint[] = [
  ...[0n, 1n, 2n, 7n, 8n, 24n, 63n, 64n, 0x7fn, 0x80n, 0xffn, 0xffffn, 0x1000n, 0x7fff_ffffn, 0xffff_ffffn],
  ...[2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 8n],
];

const mutation = fc.record({
  /** Which region, modulo their number and three more that stand for anywhere in the file. */
  region: fc.nat(999),
  at: fc.nat(0xffff),
  aligned: fc.boolean(),
  bytes: fc.constantFrom(1, 2, 4, 8),
  value: fc.oneof(fc.constantFrom(...INTERESTING), fc.bigInt(0n, 0x4000n), fc.bigInt(0n, 2n ** 64n - 1n)),
});

const damage = fc.record({
  seed: fc.nat(11),
  mutations: fc.array(mutation, { minLength: 1, maxLength: 4 }),
  /** The part that is kept of a file that is cut off. */
  keep: fc.oneof(
    { weight: 12, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
  ),
});

type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(seeds: readonly Seed[], { seed, mutations, keep }: Damage): Uint8Array {
  const chosen = seeds[seed % seeds.length];
  if (chosen === undefined) throw new Error('there is no seed');
  const bytes = Uint8Array.from(chosen.bytes);
  const view = new DataView(bytes.buffer);
  for (const { region, at, aligned, bytes: width, value } of mutations) {
    const [start, size] = chosen.regions[region % (chosen.regions.length + 3)] ?? [0, bytes.length];
    const offset = start + (aligned ? (at % size) & ~7 : at % size);
    if (offset + width > bytes.length) continue;
    if (width === 8) view.setBigUint64(offset, value, true);
    else if (width === 4) view.setUint32(offset, Number(value & 0xffff_ffffn), true);
    else if (width === 2) view.setUint16(offset, Number(value & 0xffffn), true);
    else view.setUint8(offset, Number(value & 0xffn));
  }
  return bytes.subarray(0, Math.floor(bytes.length * keep));
}

/** Each late table by itself, so that one damaged table does not hide the others. */
const LATE: readonly ((image: ElfImage) => unknown)[] = [
  (image) => image.needed.length,
  (image) => [image.soname, image.rpath, image.runpath],
  (image) => image.interp,
  (image) => image.buildId,
  (image) => expect(image.symbols.length).toBeLessThanOrEqual(image.bytes.length / 24),
  (image) => expect(image.staticSymbols.length).toBeLessThanOrEqual(image.bytes.length / 24),
  (image) => expect(image.relocations.length).toBeLessThanOrEqual(image.bytes.length / 4),
  (image) => image.sectionRelocations.length,
  (image) => {
    for (const { rva: start, memSize } of image.segments)
      image.offsetOf(rva(start + Math.max(0, memSize - 1)));
    for (let at = 0; at < image.bytes.length; at += 997) {
      const there = image.rvaOf(fileOffset(at));
      if (there !== undefined) expect(image.segmentOf(there)).toBeDefined();
    }
  },
];

/** How often each outcome was seen: a fuzz test that only ever meets one of them tests nothing. */
const seen = { images: 0, refused: new Set<string>() };

function orWinnowError<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    expect(error.code).toMatch(/^E_(NOT_ELF|ELF_[A-Z]+)$/);
    seen.refused.add(error.code);
    return undefined;
  }
}

function readEverything(bytes: Uint8Array): void {
  const image = orWinnowError(() => readElf(bytes, 'fuzz'));
  if (image === undefined) return;
  seen.images++;
  for (const read of LATE) orWinnowError(() => read(image));
}

describe('fuzzed files', () => {
  const tinies = [tinyElf(), tinyElf(['hash']), tinyElf(['sections']), tinyElf(['hash', 'sections'])];
  const seeds = tinies.map(({ bytes }) => seedOf(bytes));
  const folder = mkdtempSync(join(tmpdir(), 'winnow-fuzz-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  it(`${TINY_RUNS} damaged small files`, { timeout: 300_000 }, () => {
    fc.assert(
      fc.property(damage, (how) => readEverything(damaged(seeds, how))),
      { numRuns: TINY_RUNS },
    );
    expect(seen.images).toBeGreaterThan(TINY_RUNS / 20);
    expect(seen.refused.size).toBeGreaterThanOrEqual(8);
  });

  it(`${REAL_RUNS} damaged files of this machine`, { timeout: 300_000 }, () => {
    const real = realSeeds();
    expect(real.length).toBeGreaterThan(0);
    fc.assert(
      fc.property(damage, (how) => readEverything(damaged(real, how))),
      { numRuns: REAL_RUNS },
    );
  });

  it(`${RANDOM_RUNS} files of random bytes`, { timeout: 300_000 }, () => {
    const start = Uint8Array.from(tinies[0]?.bytes.subarray(0, 64) ?? []);
    const random = fc.tuple(fc.constantFrom(0, 4, 24, 64), fc.uint8Array({ maxLength: 512 }));
    fc.assert(
      fc.property(random, ([kept, rest]) => readEverything(Buffer.concat([start.subarray(0, kept), rest]))),
      { numRuns: RANDOM_RUNS },
    );
  });

  it(`${FILE_RUNS} damaged files on disk: the build-id and the probe never throw`, {
    timeout: 300_000,
  }, () => {
    const path = join(folder, 'damaged');
    const content = fc.oneof(
      damage.map((how) => damaged(seeds, how)),
      fc.string({ maxLength: 300 }).map((text) => Buffer.from(`#!${text}`)),
    );
    fc.assert(
      fc.property(content, (bytes) => {
        writeFileSync(path, bytes);
        const fd = openSync(path, 'r');
        try {
          const buildId = readBuildId(fd, bytes.length);
          if (buildId !== undefined) expect(buildId).toMatch(/^([0-9a-f]{2})+$/);
        } finally {
          closeSync(fd);
        }
        expect(['elf', 'script', 'other']).toContain(probeProgram(path).kind);
      }),
      { numRuns: FILE_RUNS },
    );
  });
});
