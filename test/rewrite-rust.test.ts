/** A Rust program without symbols: its functions are cut all the same, and panics pass from part to part as before. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { differingPads } from '../bench/support/pads-compare.ts';
import { readElf, readElfFile } from '../src/elf/read.ts';
import { analyseModule, functionOf } from '../src/rewrite/analyse.ts';
import type { Unit } from '../src/rewrite/model.ts';
import { restoreModule } from '../src/rewrite/restore.ts';
import { rewriteModule } from '../src/rewrite/rewrite.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-rust-'));
afterAll(() => rmSync(folder, { recursive: true }));

const SOURCE = join(import.meta.dirname, 'fixtures', 'unwind', 'panics.rs');
const hasRust = spawnSync('rustc', ['--version']).status === 0;

const run = (path: string) => {
  const { status, signal, stdout, stderr } = spawnSync(path, { encoding: 'utf8' });
  return { status, signal, stdout, stderr };
};

/** Some of the units, others for each seed. */
const someOf = (units: readonly Unit[], seed: number): Unit[] =>
  units.filter(({ start }) => (Math.imul(start + seed, 0x9e3779b1) >>> 16) % 2 === 0);

describe.skipIf(!process.env.CI && !hasRust)('a stripped Rust program', () => {
  it.each([
    ['quick', '-Copt-level=3'],
    ['small', '-Copt-level=s'],
    ['plain', '-Copt-level=0'],
  ])(
    'made %s panics from part to part as before, whatever is copied',
    { timeout: 240_000 },
    (name, level) => {
      const path = join(folder, name);
      const options = ['--edition', '2021', '-Cstrip=symbols', level, '-o', path, SOURCE];
      execFileSync('rustc', options, { stdio: 'pipe' });
      const original = readElfFile(path);
      const analysis = analyseModule(original);
      if ('kind' in analysis) throw new Error(analysis.reason);
      const { units } = analysis;
      const most = Math.max(...units.map((unit) => functionOf(analysis, unit).length));
      expect(most).toBeGreaterThan(10);
      const before = run(path);
      expect(before.stdout).toContain('caught seven 49');
      expect(before).toMatchObject({ status: 101, signal: null });
      for (const [seed, hot] of [units, someOf(units, 1), someOf(units, 2), someOf(units, 3)].entries()) {
        const cold = seed === 0 ? 'deny' : 'file';
        const made = rewriteModule(original, analysis, { hot: hot.map(({ start }) => start), cold });
        if (made.kind === 'kept') throw new Error(made.reason);
        writeFileSync(`${path}.new`, made.bytes);
        chmodSync(`${path}.new`, 0o755);
        expect({ seed, told: run(`${path}.new`) }).toEqual({ seed, told: before });
        const { differing, compared } = differingPads(original, readElf(made.bytes, path), made.map);
        expect(differing).toEqual([]);
        expect(compared).toBeGreaterThan(100);
        expect(Buffer.compare(restoreModule(made.bytes, path), original.bytes)).toBe(0);
      }
    },
  );
});
