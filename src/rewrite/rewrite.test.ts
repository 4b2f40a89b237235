/** What stands in a rewritten file, by judges that share no code with it: readelf, eu-elflint, objdump. */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { instructionsBy } from '../../test/support/objdump.ts';
import {
  allUnits,
  analysed,
  FILES,
  type FixtureFile,
  RewriteScene,
  rewriteFile,
  toldBy,
} from '../../test/support/rewrite-scene.ts';
import { fileOffset, type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf, readElfFile } from '../elf/read.ts';
import * as spec from '../elf/spec.ts';
import { restoreModule } from './restore.ts';
import { rewriteModule } from './rewrite.ts';

const scene = new RewriteScene();
afterAll(() => scene.remove());
beforeAll(() => scene.makeFixture());

describe.each(FILES)('%s, with all its code copied,', (file) => {
  it('pleases readelf', () => {
    const complaints = (path: string): string[] =>
      toldBy('readelf', '-aW', path).match(/^readelf: .*|.*(Warning|Error|<corrupt|<unknown).*$/gm) ?? [];
    expect(complaints(scene.path(`${file}.new`))).toEqual(complaints(scene.path(file)));
  });

  it('pleases eu-elflint as much as the original', () => {
    const complaints = (path: string): string[] =>
      toldBy('eu-elflint', '--gnu-ld', path)
        .split('\n')
        // It adds the size of a relocation's symbol to the place, which then lies in the segment behind .bss;
        // and it knows IFUNCs only where the ELF header speaks of GNU.
        .filter((line) => line !== '' && !/read-only section modified|unknown type/.test(line));
    expect(complaints(scene.path(`${file}.new`))).toEqual(complaints(scene.path(file)));
  });

  it('has copies that are the same code, leading to the same places or their copies', () => {
    const { module } = scene.changeOf(file);
    const { map } = module;
    const before = instructionsBy(scene.path(file));
    const after = instructionsBy(scene.path(`${file}.new`));
    let compared = 0;
    for (const { unit, at } of map.clones) {
      for (let place: number = unit.start; place < unit.end; ) {
        const was = before.get(place);
        const is = after.get(place - unit.start + at);
        expect(is, `the copy of 0x${place.toString(16)}`).toBeDefined();
        if (was === undefined || is === undefined) break;
        expect([is.text, is.length]).toEqual([was.text, was.length]);
        if (was.target !== undefined) {
          const isAddress = was.isAddress && map.canonical === 'original';
          const target = isAddress ? undefined : map.copyOf(rva(was.target));
          const table = inTables(file, is.target ?? 0);
          if (!table) expect(is.target).toBe(target ?? was.target);
        }
        compared++;
        place += was.length;
      }
    }
    expect(compared).toBeGreaterThan(100);
    expect(module.kept).toEqual([]);
  });

  it('changes nothing of the original but what leads into copied code', () => {
    const { original, changed, module } = scene.changeOf(file);
    const { field } = analysed(scene.path(file)).references;
    const fields = new Set([...field].flatMap((at) => [at, at + 1, at + 2, at + 3]));
    const stray: string[] = [];
    for (let offset = spec.EHDR_SIZE; offset < original.bytes.length; offset++) {
      if (original.bytes[offset] === changed.bytes[offset]) continue;
      const section = original.sections.find(
        (one) => one.type !== spec.SHT_NOBITS && offset >= one.offset && offset < one.offset + one.size,
      );
      const isCode = ((section?.flags ?? 0) & spec.SHF_EXECINSTR) !== 0;
      const known = /^\.(dynsym|rela\.dyn|rela\.plt|dynamic|got\.plt|got|init_array|fini_array)$/;
      const isRelr = file === 'relr.so' && ['.data', '.data.rel.ro'].includes(section?.name ?? '');
      const at = original.rvaOf(fileOffset(offset)) ?? 0;
      if (isCode ? !fields.has(at) : !known.test(section?.name ?? '') && !isRelr) {
        stray.push(`${section?.name} 0x${at.toString(16)}`);
      }
    }
    expect(stray).toEqual([]);
    expect(module.figures.patchedReferences).toBeGreaterThan(5);
  });

  it('has segments that ascend, and is loaded behind what was there', () => {
    const { original, changed } = scene.changeOf(file);
    const loads = (image: ElfImage) => image.segments.filter(({ type }) => type === spec.PT_LOAD);
    const added = loads(changed).slice(loads(original).length);
    expect(loads(changed).slice(0, loads(original).length)).toEqual(
      loads(original).map((segment) => ({ ...segment, index: segment.index })),
    );
    expect(added.map(({ flags }) => flags)).toEqual([spec.PF_R | spec.PF_X, spec.PF_R]);
    let end = Math.max(...loads(original).map(({ rva: at, memSize }) => at + memSize));
    for (const { rva: at, memSize, offset } of added) {
      expect(at).toBeGreaterThanOrEqual(end);
      expect([at % 4096, offset % 4096]).toEqual([0, 0]);
      end = at + memSize;
    }
    const phdr = changed.segments.find(({ type }) => type === spec.PT_PHDR);
    if (phdr !== undefined) expect(phdr.offset).toBe(changed.header.segmentsAt);
  });

  it('has headers on the page where the copies end, and unwind tables in a segment with nothing else', () => {
    const { changed, module } = scene.changeOf(file);
    const { segmentsAt, segmentCount } = changed.header;
    const end = Math.max(...module.map.clones.map(({ at, size }) => at + size));
    const headersAt = changed.rvaOf(segmentsAt) ?? 0;
    expect(headersAt - end).toBeGreaterThanOrEqual(0);
    expect(headersAt - end).toBeLessThan(8);
    const last = changed.segments.findLast(({ type }) => type === spec.PT_LOAD);
    const inside = changed.sections
      .filter(({ rva: at }) => last !== undefined && at >= last.rva && at < last.rva + last.memSize)
      .map(({ name }) => name);
    expect(inside.toSorted()).toEqual(['.eh_frame', '.eh_frame_hdr']);
    expect(segmentsAt + segmentCount * spec.PHDR_SIZE).toBeLessThanOrEqual(last?.offset ?? 0);
  });

  it('gives the original back, and is the same when it is rewritten again', () => {
    const { original, module } = scene.changeOf(file);
    expect(Buffer.compare(restoreModule(module.bytes), original.bytes)).toBe(0);
    const analysis = analysed(scene.path(file));
    const again = rewriteModule(readElf(module.bytes, file), analysis, {
      hot: allUnits(analysis),
      cold: 'file',
    });
    expect(again.kind === 'rewritten' && Buffer.compare(again.bytes, module.bytes)).toBe(0);
  });
});

function inTables(file: FixtureFile, at: number): boolean {
  const { changed } = scene.changeOf(file);
  const tables = changed.sections.find(({ name }) => name === '.rodata.winnow');
  return tables !== undefined && at >= tables.rva && at < tables.rva + tables.size;
}

describe('rewriteModule', () => {
  it('copies nothing where nothing is hot, and the library is as good as before', () => {
    const module = rewriteFile(scene.path('lib.so'), { hot: () => [] });
    expect(module.figures).toMatchObject({ clonedUnits: 0, hotPages: 0, patchedReferences: 0 });
    const original = readElfFile(scene.path('lib.so'));
    expect(Buffer.compare(restoreModule(module.bytes), original.bytes)).toBe(0);
    expect(readElf(module.bytes, 'lib.so').relocations).toEqual(original.relocations);
  });

  it('takes each unit once, by any of its addresses, and says what is no code', () => {
    const path = scene.path('lib.so');
    const sum = readElfFile(path).symbols.find(({ name }) => name === 'sum')?.rva ?? rva(0);
    const module = rewriteFile(path, { hot: () => [rva(sum + 3), sum, rva(8)] });
    expect(module.map.clones.map(({ unit }) => unit.start)).toEqual([sum]);
    expect(module.kept).toEqual([{ kind: 'kept', reason: 'no unit of code is there', at: 8 }]);
  });

  it('takes the right to be executed from the originals', () => {
    const flags = (cold: 'file' | 'deny'): number[] =>
      readElf(rewriteFile(scene.path('lib.so'), { cold }).bytes, 'lib.so')
        .segments.filter(({ type, flags }) => type === spec.PT_LOAD && (flags & spec.PF_X) !== 0)
        .map(({ flags }) => flags);
    expect(flags('file')).toHaveLength(2);
    expect(flags('deny')).toHaveLength(1);
  });

  it('keeps code of the large model where it is, which counts from its own address to its data', () => {
    const source = `
      int number;
      int read(void) { return number; }
      // Its own address and a large number: nothing to do with each other.
      unsigned long mixed(unsigned long n) { return n == (unsigned long)mixed ? n : n * 0x7fffffffffff1234; }
    `;
    writeFileSync(scene.path('large.c'), source);
    const names = (image: ElfImage, places: readonly (Rva | undefined)[]): string[] =>
      image.symbols.filter(({ name, rva: at }) => name !== '' && places.includes(at)).map(({ name }) => name);
    for (const [model, kept] of [
      ['small', []],
      ['large', ['read']],
    ] as const) {
      const path = scene.path(`${model}.so`);
      scene.compile('gcc', '-O2', '-fPIC', '-shared', `-mcmodel=${model}`, '-o', path, scene.path('large.c'));
      const module = rewriteFile(path);
      const stayed = names(
        readElfFile(path),
        module.kept.map(({ at }) => at),
      );
      expect(stayed).toEqual(expect.arrayContaining([...kept]));
      expect(
        names(
          readElfFile(path),
          module.map.clones.map(({ unit }) => unit.start),
        ).includes('mixed'),
      ).toBe(model === 'small');
    }
  });

  it.each([
    ['text-relocations', ['-shared', '-mcmodel=large', '-Wl,-z,notext'], 'relocations change its code'],
    ['writable-code', ['-static', '-Wl,-N'], 'its code can be written'],
    ['object', ['-c'], 'neither a program nor a shared library'],
  ])('keeps a module with %s', (name, flags, reason) => {
    writeFileSync(scene.path('one.c'), 'int x; int *get(void) { return &x; } void _start(void) {}');
    scene.compile('gcc', '-nostdlib', '-fno-pic', '-no-pie', ...flags, '-o', name, scene.path('one.c'));
    const analysis = analysed(scene.path('lib.so'));
    const image = readElfFile(scene.path(name));
    expect(rewriteModule(image, analysis, { hot: [], cold: 'file' })).toEqual({ kind: 'kept', reason });
  });
});
