/** Stubs of PLTs as linkers make them, with objdump as the judge of where they are. */
import { execFileSync } from 'node:child_process';
import { afterAll, describe, expect, it } from 'vitest';
import { AnalysisScene, withoutSections } from '../../test/support/analysis-scene.ts';
import { Workshop } from '../../test/support/asm.ts';
import { readElfFile } from '../elf/read.ts';
import type { Unit } from './model.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

/** Imports, one of them with its address taken too (.plt.got), and one by address only. */
const SOURCE = `
  extern int one(int), two(int), both(int), only(int);
  int (*taken)(void) = (int (*)(void)) only;
  int user(int n) { int (*volatile f)(int) = both; return one(n) + two(n) + both(n) + f(n); }
`;

/** Where objdump sees stubs: it names them after what they lead to. */
function stubsByObjdump(path: string): number[] {
  const listing = execFileSync('objdump', ['-d', path], { encoding: 'utf8' });
  return [...listing.matchAll(/^([0-9a-f]+) <[^>]*@plt>:$/gm)].map(([, at]) => Number.parseInt(at ?? '', 16));
}

interface Made {
  readonly path: string;
  readonly stubs: readonly Unit[];
}

function made(options: readonly string[]): Made {
  const path = workshop.build(SOURCE, 'c', ['-shared', '-fPIC', '-O1', '-nostdlib', ...options]);
  return { path, stubs: stubsOf(new AnalysisScene(readElfFile(path))) };
}

const stubsOf = ({ analysis }: AnalysisScene): Unit[] => analysis.units.filter(({ kind }) => kind === 'plt');

const KINDS: readonly (readonly string[])[] = [
  ['-Wl,-z,lazy'],
  ['-Wl,-z,now'],
  ['-Wl,-z,lazy', '-fcf-protection', '-Wl,-z,ibtplt'],
  ['-Wl,-z,now', '-fcf-protection', '-Wl,-z,ibtplt'],
  ['-Wl,-z,lazy', '-Wl,-z,bndplt'],
  ['-Wl,-z,lazy', '-Wl,--no-ld-generated-unwind-info'],
  ['-Wl,-z,now', '-Wl,--no-ld-generated-unwind-info'],
  ['-Wl,-z,lazy', '-fcf-protection', '-Wl,-z,ibtplt', '-Wl,--no-ld-generated-unwind-info'],
  ['-fuse-ld=gold', '-Wl,-z,lazy'],
  ['-fuse-ld=gold', '-Wl,-z,now'],
];

describe('stubs of a PLT', () => {
  it.each(KINDS)('are units, each by itself: %s %s %s %s', (...options) => {
    const { path, stubs } = made(options);
    const judged = stubsByObjdump(path);
    expect(judged.length).toBeGreaterThanOrEqual(3);
    expect(stubs.map(({ start }) => start)).toEqual(expect.arrayContaining(judged));
    for (const { start, end, entries, fallsThrough, kept } of stubs) {
      expect(end - start).toBeLessThanOrEqual(16);
      expect(entries[0]).toBe(start);
      expect({ fallsThrough, kept }).toEqual({ fallsThrough: false, kept: undefined });
    }
  });

  it.each(KINDS)('are found without section headers too: %s %s %s %s', (...options) => {
    const { path, stubs } = made(options);
    const stripped = stubsOf(new AnalysisScene(withoutSections(readElfFile(path))));
    // One without an FDE is found by who leads to it, be it called or lazily bound.
    expect(stripped).toEqual(stubs);
  });

  it('that are bound lazily come to the first one, and are entered behind their jump', () => {
    const { path, stubs } = made(['-Wl,-z,lazy']);
    const scene = new AnalysisScene(readElfFile(path));
    const [first, ...others] = stubs;
    if (first === undefined) throw new Error('there is no stub');
    const lazy = others.filter(({ entries }) => entries.length > 1);
    expect(first.entries).toEqual([first.start]);
    expect(lazy.length).toBeGreaterThanOrEqual(2);
    expect(lazy.map(({ start }) => start + 6)).toEqual(lazy.map(({ entries }) => entries[1]));
    const { field, target } = scene.analysis.references;
    for (const { start, end } of lazy) {
      const leads = [...field.keys()].filter((i) => (field[i] ?? 0) >= start && (field[i] ?? 0) < end);
      expect(leads.map((i) => target[i])).toEqual([first.start]);
    }
  });

  it('have no breakpoints; who uses them is known from references', () => {
    const { path, stubs } = made(['-Wl,-z,lazy']);
    const scene = new AnalysisScene(readElfFile(path));
    const starts = new Set<number>(stubs.map(({ start }) => start));
    expect(scene.breakpoints().filter((at) => starts.has(at))).toEqual([]);
    expect(scene.breakpoints()).toContain(scene.at('user'));
    expect(scene.references('user').filter((reference) => reference.startsWith('branch'))).toHaveLength(3);
  });

  it('are not functions that only jump through the GOT', () => {
    const source = 'extern int far(int);\nint near(int n) { return far(n); }\n';
    const path = workshop.build(source, 'c', ['-shared', '-fPIC', '-O2', '-fno-plt', '-nostdlib']);
    const scene = new AnalysisScene(readElfFile(path));
    expect(scene.unit('near')).toMatchObject({ kind: 'function' });
    expect(scene.breakpoints()).toEqual([scene.at('near')]);
  });

  it('of a static program lead through words that resolvers fill', () => {
    const source = 'int main(int c, char **v) { return __builtin_strlen(v[c - 1]); }\n';
    const path = workshop.build(source, 'c', ['-static', '-no-pie', '-O1', '-fno-builtin']);
    const scene = new AnalysisScene(readElfFile(path));
    expect(stubsOf(scene).length).toBeGreaterThan(10);
    expect(stubsOf(scene).every(({ start, end }) => end - start === 16 || end - start === 8)).toBe(true);
  });
});
