/** Whatever the file is: an analysis that keeps its laws, or a reason; never a crash. */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { Workshop } from '../../test/support/asm.ts';
import { brokenLaws } from '../../test/support/unit-laws.ts';
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf, readElfFile } from '../elf/read.ts';
import * as spec from '../elf/spec.ts';
import { analyseModule, findUnitParts } from './analyse.ts';
import { decodeAnalysis, encodeAnalysis } from './analysis-codec.ts';

/** 40,000 cases in CI, in about a minute. */
const RUNS = process.env.CI ? 20_000 : 600;

const workshop = new Workshop();
afterAll(() => workshop.remove());

const SOURCE = `
  #include <stdio.h>
  #include <stdlib.h>
  int shared;
  static int (*table[])(const char *) = { puts, atoi };
  __attribute__((cold, noinline)) static void rare(int n) { printf("%d", n); abort(); }
  int choose(int n) {
    switch (n) { case 0: return 7; case 1: return puts("a"); case 2: return shared; case 3: return atoi("3");
      case 4: return n * shared; case 5: return table[n & 1]("b"); }
    if (__builtin_expect(n > 1000, 0)) rare(n);
    return choose(n - 6);
  }
  __attribute__((constructor)) static void up(void) { shared = 1; }
`;

interface Seed {
  readonly bytes: Uint8Array;
  /** Damage in tables and code says more than damage to debugging data. */
  readonly regions: readonly (readonly [start: number, size: number])[];
}

function seedOf(options: readonly string[], source = SOURCE): Seed {
  const image = readElfFile(workshop.build(source, 'c', options));
  const parts = image.sections.filter(
    ({ type, flags }) => type !== spec.SHT_NOBITS && (flags & spec.SHF_ALLOC) !== 0,
  );
  const regions = parts.map(({ offset, size }) => [offset, size] as const).filter(([, size]) => size > 0);
  const headers = [image.header.segmentsAt, image.header.segmentCount * spec.PHDR_SIZE] as const;
  return { bytes: image.bytes, regions: [headers, ...regions] };
}

const seeds = [
  seedOf(['-shared', '-fPIC', '-O2', '-Wl,-z,lazy']),
  seedOf(['-shared', '-fPIC', '-O2', '-fcf-protection', '-Wl,-z,pack-relative-relocs', '-s']),
  seedOf(['-no-pie', '-O2'], `${SOURCE}int main(void) { return choose(3); }`),
];

const INTERESTING = [
  0n,
  1n,
  4n,
  0xebn,
  0xe8n,
  0xc3n,
  0xffn,
  0xffff_fffcn,
  0x7fff_ffffn,
  0xffff_ffff_ffff_fff8n,
];

const damage = fc.record({
  seed: fc.nat(seeds.length - 1),
  sections: fc.boolean(),
  mutations: fc.array(
    fc.record({
      region: fc.nat(99),
      at: fc.nat(0xffff),
      width: fc.constantFrom(1, 2, 4, 8),
      value: fc.oneof(fc.constantFrom(...INTERESTING), fc.bigInt(0n, 0xffffn), fc.bigInt(0n, 2n ** 64n - 1n)),
    }),
    { minLength: 1, maxLength: 6 },
  ),
});

function damaged({
  seed,
  sections,
  mutations,
}: typeof damage extends fc.Arbitrary<infer T> ? T : never): Uint8Array {
  const { bytes: sound, regions } = seeds[seed] ?? { bytes: new Uint8Array(), regions: [] };
  const bytes = Uint8Array.from(sound);
  const view = new DataView(bytes.buffer);
  if (!sections) view.setBigUint64(40, 0n, true);
  for (const { region, at, width, value } of mutations) {
    const [start, size] = regions[region % regions.length] ?? [0, bytes.length];
    const offset = Math.min(start + (at % size), bytes.length - width);
    if (width === 8) view.setBigUint64(offset, value, true);
    else if (width === 4) view.setUint32(offset, Number(value & 0xffff_ffffn), true);
    else if (width === 2) view.setUint16(offset, Number(value & 0xffffn), true);
    else view.setUint8(offset, Number(value & 0xffn));
  }
  return bytes;
}

/** How often each outcome was seen: a test that only ever meets one of them tests nothing. */
const seen = { analysed: 0, kept: new Set<string>(), refused: 0 };

function orRefused(bytes: Uint8Array): ElfImage | undefined {
  try {
    return readElf(bytes, 'fuzz');
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    seen.refused++;
    return undefined;
  }
}

function check(bytes: Uint8Array): void {
  const image = orRefused(bytes);
  if (image === undefined) return;
  const analysis = analyseModule(image);
  expect(decodeAnalysis(encodeAnalysis(analysis))).toEqual(analysis);
  if ('kind' in analysis) {
    seen.kept.add(analysis.reason);
    return;
  }
  seen.analysed++;
  for (const { kept } of analysis.units) if (kept !== undefined) seen.kept.add(kept);
  expect(brokenLaws(image, analysis)).toEqual([]);
  const { inside } = findUnitParts(image, analysis);
  for (const unit of analysis.units) expect(inside(unit)(unit.start)).toBe(true);
}

describe('fuzzed modules', () => {
  it('of which nothing is damaged keep the laws', () => {
    for (const { bytes } of seeds) {
      const image = readElf(bytes, 'seed');
      const analysis = analyseModule(image);
      if ('kind' in analysis) throw new Error(analysis.reason);
      expect(brokenLaws(image, analysis)).toEqual([]);
      expect(analysis.units.filter(({ kept }) => kept !== undefined)).toEqual([]);
      expect(analysis.references.field.length).toBeGreaterThan(10);
    }
  });

  it(`${RUNS} with damaged tables and code`, { timeout: 300_000 }, () => {
    fc.assert(
      fc.property(damage, (how) => check(damaged(how))),
      { numRuns: RUNS },
    );
    expect(seen.analysed).toBeGreaterThan(RUNS / 4);
    expect(seen.refused).toBeGreaterThan(0);
    expect(seen.kept.size).toBeGreaterThanOrEqual(8);
  });

  it(`${RUNS} with code of random bytes`, { timeout: 300_000 }, () => {
    const [seed] = seeds;
    if (seed === undefined) throw new Error('there is no seed');
    const text = readElf(seed.bytes, 'seed').sections.find(({ name }) => name === '.text');
    if (text === undefined) throw new Error('there is no .text');
    const random = fc.uint8Array({ minLength: text.size, maxLength: text.size });
    fc.assert(
      fc.property(random, (code) => {
        const bytes = Uint8Array.from(seed.bytes);
        bytes.set(code, text.offset);
        check(bytes);
      }),
      { numRuns: RUNS },
    );
  });
});
