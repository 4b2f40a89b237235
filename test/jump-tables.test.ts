/**
 * Jump tables of compiled programs: as many as GCC's assembly has, none too short, and the programs run as before with
 * all their code and tables copied. Each program is compiled, rewritten and run in several makes.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { readElfFile } from '../src/elf/read.ts';
import { findUnitParts, functionOf, rangeOf } from '../src/rewrite/analyse.ts';
import { findJumpTables } from '../src/rewrite/jump-tables.ts';
import { analysed, RewriteScene } from './support/rewrite-scene.ts';
import { switchProgram, tablesIn } from './support/switches.ts';

const scene = new RewriteScene();
afterAll(() => scene.remove());

const SEEDS = [1, 2, 3, 4];
const MAKES: Readonly<Record<string, readonly string[]>> = {
  quick: ['-O2'],
  quicker: ['-O3', '-fcf-protection=full', '-mmanual-endbr'],
  small: ['-Os'],
  simple: ['-O1'],
  plain: ['-O0'],
  'fixed-plain': ['-O0', '-fno-pie', '-no-pie'],
  fixed: ['-O2', '-fno-pie', '-no-pie'],
  'fixed-small': ['-Os', '-fno-pie', '-no-pie'],
};

/** Sizes of the tables that are found, by address, and the reasons for those that are not. */
function tablesOf(path: string): { sizes: number[]; reasons: string[] } {
  const image = readElfFile(path);
  const analysis = analysed(path);
  const { insideAll, areAlone } = findUnitParts(image, analysis);
  const functions = analysis.units.flatMap((unit) =>
    unit.kind === 'part' ? [] : [functionOf(analysis, unit)],
  );
  const found = functions.map((whole) =>
    findJumpTables(image, rangeOf(whole), insideAll(whole), () => areAlone(whole)),
  );
  const sizes = new Map(found.flatMap(({ tables }) => tables.map(({ at, targets }) => [at, targets.length])));
  return {
    sizes: [...sizes].toSorted(([a], [b]) => a - b).map(([, size]) => size),
    reasons: found.flatMap(({ kept }) => kept.map(({ reason }) => reason)),
  };
}

describe.each(Object.entries(MAKES))('programs made %s', (make, flags) => {
  it.each(SEEDS)('have all their tables and run as before (%i)', (seed) => {
    const name = `${make}-${seed}`;
    writeFileSync(scene.path(`${name}.c`), switchProgram(seed));
    scene.compile('gcc', ...flags, '-S', '-o', `${name}.s`, scene.path(`${name}.c`));
    scene.compile('gcc', ...flags, '-o', name, `${scene.path(name)}.s`);
    const expected = tablesIn(readFileSync(scene.path(`${name}.s`), 'utf8'));
    const { sizes, reasons } = tablesOf(scene.path(name));
    expect(expected.length).toBeGreaterThan(3);
    expect(reasons).toEqual([]);
    expect(sizes).toHaveLength(expected.length);
    const short = sizes.flatMap((size, i) =>
      size < (expected[i] ?? 0) ? [`${size} of ${expected[i]}`] : [],
    );
    expect(short).toEqual([]);
    const before = scene.run(name);
    expect(before).toMatchObject({ status: 42, signal: null, stderr: '' });
    scene.rewrite(name, `${name}-copied`, { cold: make.startsWith('fixed') ? 'file' : 'deny' });
    expect(scene.run(`${name}-copied`)).toEqual(before);
  });
});
