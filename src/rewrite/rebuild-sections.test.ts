import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RewriteScene, toldBy } from '../../test/support/rewrite-scene.ts';
import { rva } from '../base/brands.ts';
import * as spec from '../elf/spec.ts';

const scene = new RewriteScene();
afterAll(() => scene.remove());
beforeAll(() => scene.makeFixture());

describe('debuggers', () => {
  const library = () => scene.changeOf('lib.so');

  it('have a second symbol for each name of copied code, of the same kind, and one for each part', () => {
    const { original, changed, module } = library();
    const code = original.staticSymbols.filter(
      ({ rva: at, type, name }) =>
        at !== undefined && name !== '' && type === spec.STT_FUNC && module.map.copyOf(at) !== undefined,
    );
    expect(code.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['add', 'add_alias', 'subtract', 'up', 'long_way']),
    );
    for (const { name, rva: at = rva(0), binding, size } of code) {
      const parts = module.map.clones.filter(
        ({ unit: { kind, start } }) => kind === 'part' && start > at && start < at + size,
      );
      const named = changed.staticSymbols.filter((symbol) => symbol.name === name);
      const placeOf = (symbol: { readonly rva?: number }): number => symbol.rva ?? 0;
      expect(named.toSorted((a, b) => placeOf(a) - placeOf(b))).toMatchObject([
        { rva: at, binding },
        { rva: module.map.copyOf(at), binding },
        ...parts.map((part) => ({ rva: part.at, binding: spec.STB_LOCAL, size: part.size })),
      ]);
      if (name === 'long_way') expect(parts.length).toBeGreaterThan(0);
    }
    const locals = changed.sections.find(({ type }) => type === spec.SHT_SYMTAB)?.info;
    expect(changed.staticSymbols.findIndex(({ binding }) => binding !== spec.STB_LOCAL)).toBe(locals);
  });

  it('find names in files that were stripped', () => {
    const { changed, module } = scene.changeOf('stripped.so');
    const names = changed.staticSymbols.filter(({ name }) => name === 'many_ways');
    const first = names.find(({ rva: at }) => module.map.copyOf(at ?? rva(0)) !== undefined);
    // The original, its copy, and the other parts of that.
    const parts = module.map.clones.filter(({ unit: { kind, start } }) => {
      const from = first?.rva ?? 0;
      return kind === 'part' && start > from && start < from + (first?.size ?? 0);
    });
    expect(parts.length).toBeGreaterThan(0);
    const places = [
      first?.rva ?? 0,
      module.map.copyOf(first?.rva ?? rva(0)) ?? 0,
      ...parts.map(({ at }) => at),
    ];
    const ascending = (all: readonly number[]): readonly number[] => all.toSorted((a, b) => a - b);
    expect(ascending(names.map(({ rva: at = rva(0) }) => at))).toEqual(ascending(places));
  });

  it('stop in copies, and name them in a backtrace', () => {
    const script = ['set confirm off', 'set debuginfod enabled off', 'set breakpoint pending on'];
    const commands = [...script, 'break subtract', 'run', 'backtrace', 'info breakpoints'];
    const folder = scene.path('debugged');
    spawnSync('mkdir', [folder]);
    spawnSync('cp', [scene.path('main.new'), `${folder}/main`]);
    spawnSync('cp', [scene.path('lib.so.new'), `${folder}/lib.so`]);
    const words = commands.flatMap((command) => ['-ex', command]);
    const told = toldBy('gdb', '-nx', '-q', '-batch', ...words, `${folder}/main`);
    expect(told).toMatch(/^#0 .* in subtract \(\) from .*lib\.so$/m);
    expect(told).toMatch(/^#1 .* in main \(\)$/m);
    const stops = told.match(/^1\.\d .*$/gm) ?? [];
    expect(stops).toHaveLength(2);
  });

  it('translate addresses of copies into names', () => {
    const { original, module } = library();
    const at = original.symbols.find(({ name }) => name === 'sum')?.rva ?? rva(0);
    const copy = module.map.copyOf(at) ?? 0;
    const told = toldBy('addr2line', '-f', '-e', scene.path('lib.so.new'), (copy + 4).toString(16));
    expect(told.split('\n')[0]).toBe('sum');
  });
});
