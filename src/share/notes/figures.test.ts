import { execFileSync } from 'node:child_process';
import { afterAll, describe, expect, it } from 'vitest';
import { closureOf, LINKED_MAKES, LinkedScene } from '../../../test/support/linked-scene.ts';
import { Scope } from '../closure/scope.ts';
import { allRelocations, type RelocationCounts } from './count-relocations.ts';
import { sharingFigures } from './figures.ts';
import { hashImports } from './hashed-dispatcher.ts';
import { importsOf } from './imports.ts';
import { nameHash } from './name-hash.ts';

const scene = new LinkedScene();
afterAll(() => scene.remove());

const NAMES: Readonly<Record<string, keyof RelocationCounts>> = {
  R_X86_64_RELATIVE: 'relative',
  R_X86_64_GLOB_DAT: 'globDat',
  R_X86_64_JUMP_SLOT: 'jumpSlot',
  R_X86_64_64: 'word',
  R_X86_64_COPY: 'copy',
  R_X86_64_IRELATIVE: 'irelative',
  R_X86_64_DTPMOD64: 'tls',
  R_X86_64_DTPOFF64: 'tls',
  R_X86_64_TPOFF64: 'tls',
  R_X86_64_TLSDESC: 'tls',
};

/** What readelf prints of a module. */
function readelfCounts(path: string): { counts: Partial<RelocationCounts>; places: number[] } {
  const text = execFileSync('readelf', ['-rW', path], { encoding: 'utf8', maxBuffer: 1 << 28 });
  const counts: Partial<Record<keyof RelocationCounts, number>> = {};
  const places: number[] = [];
  for (const [, place = '', type = ''] of text.matchAll(/^([0-9a-f]{16}) {2}[0-9a-f]{16} (R_\w+)/gm)) {
    const kind = NAMES[type] ?? 'other';
    counts[kind] = (counts[kind] ?? 0) + 1;
    places.push(Number.parseInt(place, 16));
  }
  // The packed table is unfolded to one address a line.
  for (const [, place = ''] of text.matchAll(/^([0-9a-f]{16})$/gm)) {
    counts.relr = (counts.relr ?? 0) + 1;
    places.push(Number.parseInt(place, 16));
  }
  return { counts, places };
}

describe('the figures of a program', () => {
  for (const make of LINKED_MAKES) {
    it(`made ${make.name} count what readelf shows`, () => {
      const figures = sharingFigures(closureOf(scene.make(make)));
      for (const { path, relocations, relocatedPages } of figures.modules) {
        const { counts, places } = readelfCounts(path);
        expect(relocations).toMatchObject(counts);
        expect(allRelocations(relocations)).toBe(places.length);
        const pages = new Set(places.flatMap((at) => [at >> 12, (at + 7) >> 12]));
        expect(relocatedPages).toBe(pages.size);
      }
      expect(figures.relocatedPages).toBe(figures.modules.reduce((sum, row) => sum + row.relocatedPages, 0));
    });
  }

  it('tell imports by where they are defined', () => {
    const { modules } = closureOf(scene.make({ name: 'imports' }));
    const scope = new Scope(modules);
    const two = modules.find(({ name }) => name.endsWith('libtwo.so'));
    expect(two).toBeDefined();
    if (two === undefined) return;
    const { imports, unbound } = importsOf(two, scope);
    const from = Object.fromEntries(
      imports.map(({ name, definition, isCode }) => [name, [definition.module.role, isCode]]),
    );
    expect(from).toMatchObject({
      f: ['library', true],
      own: ['program', true],
      shared_data: ['program', false],
      printf: ['library', true],
    });
    expect(imports.find(({ name }) => name === 'f')?.version).toBe('V2');
    // missing, and three that start-up code of gcc asks for.
    expect(unbound).toBe(4);
  });

  it('reach everything from one image, and next to nothing from hashed addresses', () => {
    const { dispatcherPages, imports } = sharingFigures(closureOf(scene.make({ name: 'reach' })));
    const near = Object.fromEntries(dispatcherPages.near.map(({ layout, stubs }) => [layout, stubs]));
    expect(dispatcherPages.stubs + dispatcherPages.words).toBe(imports);
    expect(dispatcherPages.bytes).toBe(imports * 8);
    expect(near['one image']).toBe(dispatcherPages.stubs);
    expect(near['by hash, 16 bits']).toBe(0);
    // The program lies far from its libraries.
    expect(near.today).toBeGreaterThan(0);
    expect(near.today).toBeLessThan(dispatcherPages.stubs);
  });

  it('count a slot once, and a collision for each further import', () => {
    const { modules } = closureOf(scene.make({ name: 'slots' }));
    const scope = new Scope(modules);
    const imports = modules.map((module) => importsOf(module, scope));
    const names = new Set(
      imports.flatMap((row) => row.imports.map(({ name, version }) => `${name}@${version ?? ''}`)),
    );
    const slots = new Set([...names].map((name) => nameHash(name, 4)));
    const hashed = hashImports(imports, 4);
    expect(hashed).toMatchObject({ slots: 16, imports: names.size, slotsUsed: slots.size, pagesTouched: 1 });
    expect(hashed.collisions).toBe(names.size - slots.size);
    expect(hashed.collisions).toBeGreaterThan(0);
  });
});
