import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { rva } from '../base/brands.ts';
import { readElfFile } from '../elf/read.ts';
import { analyseModule } from '../rewrite/analyse.ts';
import type { Unit } from '../rewrite/model.ts';
import { runInPlace, settleFixedAddresses, unusedRuns } from './fixed-addresses.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-fixed-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Each function on a page of its own, but `neighbour`, which shares that of `pointed`. */
const SOURCE = `
#define PAGE __attribute__((noinline, aligned(4096)))
PAGE int called(int a) { return a + 1; }
PAGE int pointed(int a) { return a + 2; }
__attribute__((noinline)) int neighbour(int a) { return a + 3; }
PAGE int both(int a) { return a + 4; }
int (*volatile table[])(int) = { pointed, both };
PAGE int main(void) { return called(1) + neighbour(1) + both(1) + table[0](1) + table[1](1); }
`;

function settle(...flags: string[]): { moved: string[]; inPlace: string[]; stillRun: string[] } {
  const path = join(folder, `program${flags.join('')}`);
  writeFileSync(`${path}.c`, SOURCE);
  execFileSync('gcc', ['-O1', '-fno-toplevel-reorder', ...flags, '-o', path, `${path}.c`]);
  const image = readElfFile(path);
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  const wanted = ['called', 'pointed', 'neighbour', 'both', 'main'];
  const names = new Map(image.staticSymbols.map(({ name, rva }) => [rva, name]));
  const nameOf = ({ start }: Unit): string => names.get(start) ?? '';
  const units = analysis.units.filter((unit) => wanted.includes(nameOf(unit)));
  expect(units).toHaveLength(wanted.length);
  const { moved, inPlace } = settleFixedAddresses(image, analysis, units);
  return {
    moved: moved.map(nameOf).sort(),
    inPlace: inPlace.map(nameOf).sort(),
    stillRun: runInPlace(image, moved).map(nameOf),
  };
}

it('leaves alone what is called by its address, and what shares its pages', () => {
  // main is called by its address too, from the start-up code.
  expect(settle('-no-pie')).toMatchObject({
    moved: ['both', 'called'],
    inPlace: ['main', 'neighbour', 'pointed'],
  });
});

it('tells which copied functions go on running in their old place', () => {
  expect(settle('-no-pie').stillRun).toEqual(['both']);
});

it('moves everything where addresses are not fixed', () => {
  expect(settle('-fPIE', '-pie')).toMatchObject({ inPlace: [], stillRun: [] });
});

/** Functions on pages of their own, all in one window of 16: `used` on the 1st and 6th, nothing on a 13th. */
const WINDOW = `
.text
.balign 65536
.globl _start
_start: ret
${Array.from({ length: 11 }, (_, i) => `.balign 4096\nf${i + 1}: .cfi_startproc\nret\n.cfi_endproc\n`).join('')}
.globl last
last: ret
`;

it('maps unused pages apart that faults beside them would map', () => {
  const build = (...flags: string[]): string => {
    const path = join(folder, `window${flags.join('')}`);
    writeFileSync(`${path}.s`, WINDOW);
    execFileSync('gcc', ['-nostdlib', ...flags, '-o', path, `${path}.s`]);
    return path;
  };
  const image = readElfFile(build('-no-pie', '-static'));
  const start = image.header.entry;
  const unit = (page: number): Unit => ({
    kind: 'function',
    start: rva(start + page * 4096),
    end: rva(start + page * 4096 + 1),
    entries: [],
    fallsThrough: false,
  });
  const pagesOf = (used: readonly Unit[]): (readonly number[])[] =>
    unusedRuns(image, used).map(({ at, size }) => [(at - start) / 4096, size / 4096]);
  // The last page ends within the segment, and belongs to what lies behind.
  expect(pagesOf([unit(0), unit(5)])).toEqual([
    [1, 4],
    [6, 5],
  ]);
  expect(pagesOf([unit(0), unit(2), unit(5), unit(7)])).toEqual([
    [3, 2],
    [8, 3],
  ]);
  expect(pagesOf([])).toEqual([]);
  expect(unusedRuns(readElfFile(build('-static-pie')), [unit(0)])).toEqual([]);
});
