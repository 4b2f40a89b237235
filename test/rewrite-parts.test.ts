/**
 * Functions that are cut, as C++ programs have them: with landing pads and jump tables. Any of their parts are copied and
 * others not; exceptions are thrown from part to part, out of originals into copies and back, in several threads.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { differingPads } from '../bench/support/pads-compare.ts';
import { readElf, readElfFile } from '../src/elf/read.ts';
import { analyseModule, functionOf, unitAt } from '../src/rewrite/analyse.ts';
import type { ModuleAnalysis, RewriteOptions, RewrittenModule, Unit } from '../src/rewrite/model.ts';
import { restoreModule } from '../src/rewrite/restore.ts';
import { rewriteModule } from '../src/rewrite/rewrite.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-parts-'));
afterAll(() => rmSync(folder, { recursive: true }));

const SOURCE = join(import.meta.dirname, 'fixtures', 'unwind', 'parts.cc');
type Make = readonly [name: string, allCopied: RewriteOptions['cold'], ...options: string[]];
const MAKES: readonly Make[] = [
  ['quick', 'deny', '-O2'],
  ['small', 'deny', '-Os', '-fno-reorder-blocks-and-partition'],
  ['plain', 'deny', '-O0'],
  // One piece with the C++ library's own code and the unwinder; what the C library has without unwind tables stays.
  ['whole', 'file', '-O2', '-static-pie'],
];

interface Made {
  readonly path: string;
  readonly analysis: ModuleAnalysis;
  /** Of the function that is cut. */
  readonly parts: readonly Unit[];
}

function make(name: string, options: readonly string[]): Made {
  const path = join(folder, name);
  execFileSync('g++', ['-std=c++14', '-w', '-pthread', ...options, '-o', path, SOURCE], { stdio: 'pipe' });
  const image = readElfFile(path);
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  const at = image.staticSymbols.find((symbol) => symbol.name === '_Z4manyii')?.rva;
  const unit = at === undefined ? undefined : unitAt(analysis, at);
  if (unit === undefined) throw new Error('there is no such function');
  return { path, analysis, parts: functionOf(analysis, unit) };
}

function rewrite(
  { path, analysis }: Made,
  hot: readonly Unit[],
  cold: RewriteOptions['cold'],
): RewrittenModule {
  const options = { hot: hot.map(({ start }) => start), cold };
  const made = rewriteModule(readElfFile(path), analysis, options);
  if (made.kind === 'kept') throw new Error(made.reason);
  writeFileSync(`${path}.new`, made.bytes);
  chmodSync(`${path}.new`, 0o755);
  return made;
}

const run = (path: string, ...args: readonly string[]) => {
  const { status, signal, stdout, stderr } = spawnSync(path, args, { encoding: 'utf8' });
  return { status, signal, stdout, stderr };
};

/** Some of the units, others for each seed. */
const someOf = (units: readonly Unit[], seed: number): Unit[] =>
  units.filter(({ start }) => (Math.imul(start + seed, 0x9e3779b1) >>> 16) % 2 === 0);

describe.each(MAKES.map((made) => ({ name: made[0], made })))(
  'a program made $name',
  ({ name, made: [, cold, ...options] }) => {
    it('throws from part to part as before, whatever is copied', { timeout: 240_000 }, () => {
      const made = make(name, options);
      const original = readElfFile(made.path);
      expect(made.parts.length).toBeGreaterThan(10);
      const ways: readonly (readonly string[])[] = [[], ['11'], ['3']];
      const before = ways.map((way) => run(made.path, ...way));
      expect(before[0]?.stdout).toContain('caught deep');
      expect(before[0]?.stdout).toContain('outside 77');
      expect(before[1]).toMatchObject({ status: 3, stdout: 'terminated\n' });
      const { units } = made.analysis;
      const all = rewrite(made, units, cold);
      expect(all.map.clones.filter(({ unit }) => made.parts.includes(unit))).toHaveLength(made.parts.length);
      for (const [seed, hot] of [units, someOf(units, 1), someOf(units, 2), someOf(units, 3)].entries()) {
        const written = seed === 0 ? all : rewrite(made, hot, 'file');
        expect({ seed, told: ways.map((way) => run(`${made.path}.new`, ...way)) }).toEqual({
          seed,
          told: before,
        });
        const copy = readElf(written.bytes, made.path);
        const { differing, compared } = differingPads(original, copy, written.map);
        expect(differing).toEqual([]);
        expect(compared).toBeGreaterThan(100);
        const again = rewriteModule(copy, made.analysis, {
          hot: hot.map(({ start }) => start),
          cold: seed === 0 ? cold : 'file',
        });
        expect(again.kind === 'rewritten' && Buffer.compare(again.bytes, written.bytes)).toBe(0);
        expect(Buffer.compare(restoreModule(written.bytes, made.path), original.bytes)).toBe(0);
      }
    });
  },
);
