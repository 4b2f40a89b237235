import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElfFile } from '../elf/read.ts';
import { analyseModule, unitAt } from '../rewrite/analyse.ts';
import type { ModuleAnalysis } from '../rewrite/model.ts';
import { chooseHotUnits } from './hot-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-hot-units-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SOURCE = `
#include <stdio.h>
#include <stdlib.h>
int twice(int x) { return x * 2; }
__attribute__((constructor)) void begin(void) { setenv("A", "b", 1); }
int never(void) { return puts("never"); }
int main(int argc, char **argv) { return twice(argc) == 2 ? atoi(argv[0]) : rand(); }
`;

interface Built {
  readonly image: ElfImage;
  readonly analysis: ModuleAnalysis;
  /** Start of a function by its name. */
  readonly at: (name: string) => Rva;
  /** Name of the section that an address is in. */
  readonly sectionOf: (at: number) => string | undefined;
}

let count = 0;
function build(...flags: readonly string[]): Built {
  const path = join(folder, `program${count++}`);
  writeFileSync(join(folder, 'program.c'), SOURCE);
  const words = ['-O1', '-fno-inline', '-o', path, 'program.c', ...flags];
  const done = spawnSync('gcc', words, { cwd: folder, encoding: 'utf8' });
  if (done.status !== 0) throw new Error(done.stderr);
  const image = readElfFile(path);
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  return {
    image,
    analysis,
    at: (name) => image.staticSymbols.find((symbol) => symbol.name === name)?.rva ?? rva(0),
    sectionOf: (at) => image.sections.find((one) => one.rva <= at && at < one.rva + one.size)?.name,
  };
}

const startsOf = (units: readonly { readonly start: Rva }[]): Rva[] => units.map(({ start }) => start);

const NO_IBT = ['-fcf-protection=none'];

describe('chooseHotUnits', () => {
  it('takes what was entered in its order, behind what always runs', () => {
    const { image, analysis, at } = build(...NO_IBT);
    const { units, stayed, cold } = chooseHotUnits(image, analysis, [at('main'), at('twice')]);
    const starts = startsOf(units);
    expect(starts.slice(-2)).toEqual([at('main'), at('twice')]);
    expect(starts).toContain(image.header.entry);
    for (const name of ['_init', '_fini', 'begin', 'frame_dummy', '__do_global_dtors_aux']) {
      expect(starts, name).toContain(at(name));
    }
    for (const name of ['register_tm_clones', 'deregister_tm_clones']) {
      expect(starts, name).toContain(unitAt(analysis, at(name))?.start);
    }
    expect(starts).not.toContain(at('never'));
    expect(new Set(starts).size).toBe(starts.length);
    expect([stayed.size, cold]).toEqual([0, []]);
  });

  it.each([
    ['a lazy PLT', [...NO_IBT, '-Wl,-z,lazy'], ['.plt', '.plt', '.plt', '.plt']],
    [
      'a lazy PLT of a program at fixed addresses',
      [...NO_IBT, '-Wl,-z,lazy', '-no-pie'],
      ['.plt', '.plt', '.plt', '.plt'],
    ],
    ['a PLT that is bound at the start', [...NO_IBT, '-Wl,-z,now'], ['.plt', '.plt', '.plt']],
    [
      'two lazy PLTs, with branch tracking',
      ['-fcf-protection=full', '-Wl,-z,ibtplt', '-Wl,-z,lazy'],
      ['.plt', '.plt', '.plt', '.plt', '.plt.sec', '.plt.sec', '.plt.sec'],
    ],
  ])('takes the stubs that hot code leads to: %s', (_what, flags, sections) => {
    const { image, analysis, at, sectionOf } = build(...flags);
    const { units } = chooseHotUnits(image, analysis, [at('main')]);
    const stubs = units.filter(({ kind }) => kind === 'plt');
    // Of atoi, rand and setenv; __cxa_finalize has one of another kind; puts is called by `never` alone.
    const own = stubs.filter(({ start }) => !isOf(image, start, '__cxa_finalize'));
    expect(own.map(({ start }) => sectionOf(start))).toEqual(sections);
    expect(stubs.some(({ start }) => isOf(image, start, 'puts'))).toBe(false);
  });

  it('takes the stubs that used code leads to which stays where it is', () => {
    const { image, analysis, at } = build(...NO_IBT);
    const units = analysis.units.map((unit) =>
      unit.start === at('never') ? { ...unit, kept: 'a reason' } : unit,
    );
    const stubsOf = (entered: readonly Rva[]): Rva[] =>
      startsOf(chooseHotUnits(image, { ...analysis, units }, entered).units);
    expect(stubsOf([at('never')]).some((start) => isOf(image, start, 'puts'))).toBe(true);
    expect(stubsOf([at('twice')]).some((start) => isOf(image, start, 'puts'))).toBe(false);
  });

  it('counts what was entered and cannot move', () => {
    const { image, analysis, at } = build(...NO_IBT);
    const units = analysis.units.map((unit) =>
      unit.start === at('twice') ? { ...unit, kept: 'a reason' } : unit,
    );
    const nowhere = rva(image.header.segmentsAt);
    const entered = [at('twice'), rva(at('twice') + 1), nowhere, at('main')];
    const hot = chooseHotUnits(image, { ...analysis, units }, entered);
    expect([...hot.stayed]).toEqual([
      ['a reason', 2],
      ['an address in code that belongs to no unit', 1],
    ]);
    expect(startsOf(hot.cold)).toEqual([at('twice')]);
    expect(startsOf(hot.units)).not.toContain(at('twice'));
  });
});

/** Whether the stub jumps through the word that a relocation fills with the function's address. */
function isOf(image: ElfImage, stub: Rva, name: string): boolean {
  const offset = image.offsetOf(stub) ?? 0;
  const bytes = Buffer.from(image.bytes.subarray(offset, offset + 16));
  const at = bytes.indexOf(Buffer.of(0xff, 0x25));
  if (at < 0) return false;
  const slot = stub + at + 6 + bytes.readInt32LE(at + 2);
  const relocation = image.relocations.find((one) => one.rva === slot);
  return image.symbols[relocation?.symbol ?? 0]?.name === name;
}
