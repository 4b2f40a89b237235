import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { judgedExpressions, judgedFrames, judgedTable, rowsBy } from '../../test/support/frames-judge.ts';
import { behind, cloneOf, mapOf, unitsOf, withTables } from '../../test/support/unwind-scene.ts';
import { rva } from '../base/brands.ts';
import { cfiOf, type EhFrame, type Fde, isLeftover, readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf, readElfFile } from '../elf/read.ts';
import type { Clone, Unit } from './model.ts';
import { planUnwind, type UnwindPlan } from './rebuild-unwind.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-unwind-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Throws, catches, cleans up, calls through a lazy PLT, and has a part that GCC moves away as cold. */
const SOURCE = `
  #include <cstdio>
  #include <stdexcept>
  #include <string>
  struct Guard { const char *name; ~Guard() { std::puts(name); } };
  extern "C" int thrower(int n) { Guard g{"thrower"}; if (n > 2) throw std::runtime_error("deep"); return n; }
  extern "C" int catcher(int n) {
    try { Guard g{"catcher"}; return thrower(n) + thrower(n + 1); }
    catch (const std::logic_error &e) { return -2; }
    catch (const std::exception &e) { return std::string(e.what()).size(); }
  }
  extern "C" int leaf(int a, int b) { return a * b; }
  extern "C" __attribute__((cold)) void cold(const char *s) { std::printf("%s", s); }
  extern "C" int both(int n) { if (__builtin_expect(n == 77, 0)) cold("x"); return leaf(n, catcher(n)); }
`;

function library(name: string, ...options: readonly string[]): ElfImage {
  const source = join(folder, 'source.cc');
  const path = join(folder, name);
  writeFileSync(source, SOURCE);
  execFileSync('g++', ['-O2', '-fPIC', '-shared', ...options, '-o', path, source], { stdio: 'pipe' });
  return readElfFile(path);
}

function planned(image: ElfImage, clones: readonly Clone[]): UnwindPlan {
  const plan = planUnwind(image, clones);
  if (plan.kind === 'kept') throw new Error(plan.reason);
  return plan;
}

/** Copies of all units, their order turned round by a step, at places of the original's phase plus `skew`. */
function clonesOf(image: ElfImage, units: readonly Unit[], skew = 0): Clone[] {
  let next = behind(image);
  return units.map((unit) => {
    next += ((((unit.start + skew - next) % 16) + 16) % 16) as number;
    const clone = cloneOf(unit, next);
    next += clone.size;
    return clone;
  });
}

/** Every row at every place of code, by readelf, of originals and clones; and the table, by eu-readelf. */
function judge(image: ElfImage, clones: readonly Clone[], step: number): void {
  const plan = planned(image, clones);
  const { bytes, hdrAt, frameAt } = withTables(image, plan, mapOf(clones));
  const path = join(folder, 'judged.so');
  writeFileSync(path, bytes);
  const frames = judgedFrames(path);
  const before = rowsBy(judgedFrames(image.path));
  const after = rowsBy(frames);
  const differing: string[] = [];
  let compared = 0;
  const compare = (original: number, copy: number): void => {
    const [was, is] = [before(original), after(copy)];
    if (was !== undefined) compared++;
    if (was !== is) differing.push(`${original.toString(16)} ${was} -> ${copy.toString(16)} ${is}`);
  };
  for (const { start, end } of readEhFrame(image).fdes) {
    for (let pc: number = start; pc < end; pc += step) compare(pc, pc);
  }
  for (const { unit, at, size } of clones) {
    for (let i = 0; i < unit.end - unit.start; i += step) compare(unit.start + i, at + i);
    // The appended jump has the row of the last instruction.
    for (let i = unit.end - unit.start; i < size; i++) compare(unit.end - 1, at + i);
  }
  expect(differing).toEqual([]);
  expect(compared).toBeGreaterThan(clones.length);
  const fdes = frames.filter(({ cie, start, end }) => cie !== undefined && end > start && start > 0);
  const listed = fdes.map(({ start, at }) => [start - hdrAt, at]).toSorted(([a = 0], [b = 0]) => a - b);
  expect(judgedTable(path)).toEqual(listed);
  const read = readEhFrame(readElf(bytes, path));
  expect(read.at).toBe(frameAt);
  expect(read.headerProblem).toBeUndefined();
  expect(read.fdes.length).toBe(frames.filter(({ cie }) => cie !== undefined).length);
}

/** What an FDE says, wherever it stands and whatever code it is of. */
const saying = (frame: EhFrame, one: Fde): unknown => ({
  cie: Buffer.from(
    frame.bytes.subarray(one.cie.at - (frame.at ?? 0) + 8, one.cie.programAt - (frame.at ?? 0)),
  )
    .toString('hex')
    .slice(0, one.cie.personality === undefined ? undefined : 14),
  personality: one.cie.personality?.target,
  lsda: one.lsda,
  lsdaAt: one.lsdaAt !== undefined,
  program: trimmed(cfiOf(frame, one)),
});

/** Without the no-operations at the end, by which records are filled up. */
const trimmed = (program: Uint8Array): string =>
  Buffer.from(program)
    .toString('hex')
    .replace(/(00)+$/, '');

describe('planUnwind', () => {
  for (const options of [
    ['-Wl,-z,lazy'],
    ['-Wl,-z,now'],
    ['-Wl,-z,ibtplt'],
    ['-fuse-ld=gold'],
    ['-O0', '-fno-plt'],
  ]) {
    it(`gives clones the rows of their originals (${options.join(' ')})`, () => {
      const image = library('rows.so', ...options);
      const units = unitsOf(image, readEhFrame(image).fdes);
      expect(units.length).toBeGreaterThan(10);
      judge(image, clonesOf(image, units), 1);
      judge(image, clonesOf(image, units.toReversed()), 1);
      judge(image, [], 1);
    });
  }

  it('does so for libraries of this machine', { timeout: 120_000 }, () => {
    for (const name of ['libstdc++.so.6', 'libgcc_s.so.1', 'libm.so.6', 'libc.so.6']) {
      const image = readElfFile(realpathSync(`/usr/lib/x86_64-linux-gnu/${name}`));
      const units = unitsOf(image, readEhFrame(image).fdes).filter((_, i) => i % 5 === 0);
      judge(image, clonesOf(image, units), 7);
    }
  });

  it('joins neighbours of a PLT, and puts the phase of stubs right that stand otherwise', () => {
    const image = library('phase.so', '-Wl,-z,lazy');
    const plt = unitsOf(image, readEhFrame(image).fdes).filter(({ kind }) => kind === 'plt');
    const [first, second, third, fourth, fifth] = plt;
    if (first === undefined || second === undefined || third === undefined) throw new Error('no PLT');
    if (fourth === undefined || fifth === undefined) throw new Error('no PLT');
    const at = behind(image);
    const clones = [
      cloneOf(first, at),
      cloneOf(third, at + 16),
      cloneOf(second, at + 32),
      cloneOf(fourth, at + 64),
      cloneOf(fifth, at + 84),
    ];
    const plan = planned(image, clones);
    expect(plan.cloneFdes).toBe(4);
    const { bytes, frameAt } = withTables(image, plan, mapOf(clones));
    const path = join(folder, 'phase-new.so');
    writeFileSync(path, bytes);
    const added = readEhFrame(readElf(bytes, path)).fdes.slice(-4);
    expect(added.map(({ start, end }) => [start - at, end - at])).toEqual([
      [0, 16],
      [16, 48],
      [64, 80],
      [84, 100],
    ]);
    const expressions = judgedExpressions(path);
    const ofStub = (rip: number): string[] => [
      `DW_OP_breg7 (rsp): 8; DW_OP_breg16 (rip): ${rip}; DW_OP_lit15; DW_OP_and; DW_OP_lit11; DW_OP_ge; DW_OP_lit3; DW_OP_shl; DW_OP_plus`,
    ];
    expect(added.map((one) => expressions.get(one.at - frameAt))).toEqual([
      undefined,
      ofStub(0),
      ofStub(0),
      ofStub(12),
    ]);
  });

  it('reads back as it was meant, for any clones in any order at any place', { timeout: 120_000 }, () => {
    const image = library('any.so');
    const frame = readEhFrame(image);
    const functions = unitsOf(image, frame.fdes).filter(({ kind }) => kind === 'function');
    const clusters = functions.flatMap((unit, i): Unit[] => {
      const next = functions[i + 1];
      return next === undefined ? [unit] : [unit, { ...unit, kind: 'cluster', end: next.end }];
    });
    const chosen = fc.shuffledSubarray(functions.map((_, i) => i));
    const gap = fc.integer({ min: 0, max: 40 });
    const join16 = fc.nat(1).map((n) => n * 0x12340);
    fc.assert(
      fc.property(chosen, fc.infiniteStream(gap), fc.boolean(), join16, (indexes, gaps, clustered, moved) => {
        let next = behind(image);
        const clones = indexes.flatMap((index): Clone[] => {
          const unit = clustered && index % 3 === 0 ? clusters[2 * index] : functions[index];
          if (unit === undefined) return [];
          next += gaps.next().value ?? 0;
          const clone = cloneOf(
            clustered && index % 3 === 0 ? (clusters[2 * index + 1] ?? unit) : unit,
            next,
          );
          next += clone.size;
          return [clone];
        });
        const map = mapOf(clones, moved);
        const { bytes } = withTables(image, planned(image, clones), map);
        const read = readEhFrame(readElf(bytes, 'any.so'));
        expect(read.headerProblem).toBeUndefined();
        const old = read.fdes.slice(0, frame.fdes.length);
        expect(old.map((one) => [one.start, one.end, saying(read, one)])).toEqual(
          frame.fdes.map((one) => [one.start, one.end, saying(frame, one)]),
        );
        const meant = map.clones.flatMap(({ unit, at, size }) =>
          frame.fdes
            .filter((one) => !isLeftover(one) && one.start >= unit.start && one.end <= unit.end)
            .toSorted((a, b) => a.start - b.start)
            .map((one) => {
              const start = at + one.start - unit.start;
              const end = one.end === unit.end ? at + size : at + one.end - unit.start;
              return [start, end, saying(frame, one)];
            }),
        );
        const added = read.fdes.slice(frame.fdes.length);
        expect(added.map((one) => [one.start, one.end, saying(read, one)])).toEqual(meant);
        expect(read.header?.table?.starts.length).toBe(read.fdes.filter((one) => !isLeftover(one)).length);
      }),
      { numRuns: 60 },
    );
  });

  it('counts LSDAs that lead to the original landing pads', () => {
    const assembly = join(folder, 'pads.s');
    const source = join(folder, 'source.cc');
    writeFileSync(source, SOURCE);
    execFileSync('g++', ['-O2', '-fPIC', '-S', '-o', assembly, source], { stdio: 'pipe' });
    const text = readFileSync(assembly, 'utf8');
    // The landing pads begin where the function does, which is now said instead of left out.
    const changed = text.replaceAll(
      /^\.LLSDA(\d+):\n\t\.byte\t0xff$/gm,
      '.LLSDA$1:\n\t.byte\t0x1b\n\t.long\t.LFB$1-.',
    );
    expect(changed).not.toBe(text);
    writeFileSync(assembly, changed);
    const path = join(folder, 'pads.so');
    execFileSync('g++', ['-shared', '-o', path, assembly], { stdio: 'pipe' });
    const image = readElfFile(path);
    const frame = readEhFrame(image);
    const clones = clonesOf(image, unitsOf(image, frame.fdes));
    const withPads = frame.fdes.filter(
      ({ lsda }) => lsda !== undefined && image.bytes[image.offsetOf(lsda) ?? 0] === 0x1b,
    );
    expect(withPads.length).toBeGreaterThan(0);
    expect(planned(image, clones).kept.map(({ at }) => at)).toEqual(
      withPads.map(({ start }) => start).toSorted((a, b) => a - b),
    );
    judge(image, clones, 1);
  });

  it('refuses to write for other clones than were planned', () => {
    const image = library('other.so');
    const units = unitsOf(image, readEhFrame(image).fdes);
    const clones = clonesOf(image, units);
    const plan = planned(image, clones);
    const write = (others: readonly Clone[]): unknown =>
      plan.write({ hdr: rva(0x90000), frame: rva(0xa0000), pads: rva(0xc0000) }, mapOf(others));
    expect(() => write(clones.toReversed())).toThrow(/other clones/);
    const apart = clones.map((clone, i) =>
      i % 2 === 0 ? clone : { ...clone, at: rva(clone.at + 0x1000 * i) },
    );
    expect(() => write(apart)).toThrow(/apart/);
  });
});
