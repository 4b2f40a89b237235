import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allUnits, analysed, RewriteScene } from '../../test/support/rewrite-scene.ts';
import { type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf, readElfFile } from '../elf/read.ts';
import * as spec from '../elf/spec.ts';
import type { ElfSymbol } from '../elf/symbols.ts';
import { rewriteModule } from './rewrite.ts';

const scene = new RewriteScene();
afterAll(() => scene.remove());
beforeAll(() => scene.makeFixture());

const wordAt = (image: ElfImage, at: Rva): bigint =>
  Buffer.from(image.bytes).readBigUInt64LE(image.offsetOf(at) ?? -1);

describe('what leads into the code', () => {
  it.each(['lib.so', 'relr.so', 'main', 'stripped.so'] as const)('of %s leads to the copies', (file) => {
    const { original, changed, module } = scene.changeOf(file);
    const expected = (value: bigint): bigint => BigInt(module.map.copyOf(rva(Number(value))) ?? value);
    const isCode = ({ type }: ElfSymbol): boolean =>
      type === spec.STT_FUNC || type === spec.STT_GNU_IFUNC || type === spec.STT_NOTYPE;
    const hot = changed.sections.find(({ name }) => name === '.text.winnow')?.index;
    let moved = 0;
    for (const [i, symbol] of original.symbols.entries()) {
      const is = changed.symbols[i];
      const value = isCode(symbol) ? expected(symbol.value) : symbol.value;
      if (value !== symbol.value) moved++;
      // Of a function that is cut, the name leads to the first part, and reaches to the end of the last one.
      const behind = Number(symbol.value) + symbol.size;
      const ends = module.map.clones.flatMap(({ unit: { kind, start, end } }) => {
        const isFirst = start <= symbol.value && symbol.value < end;
        return isFirst || (kind === 'part' && start > symbol.value && start < behind) ? [end] : [];
      });
      const last = Math.min(behind, Math.max(...ends)) - 1;
      const isCopy = value !== symbol.value && symbol.size > 0;
      const size = isCopy ? Number(expected(BigInt(last)) - value) + 1 : symbol.size;
      expect(is).toMatchObject({ name: symbol.name, value, size, type: symbol.type });
      expect(is?.section).toBe(value === symbol.value ? symbol.section : hot);
      expect(is?.version).toEqual(symbol.version);
    }
    if (file !== 'main') expect(moved).toBeGreaterThan(10);
    let relocated = 0;
    for (const [i, relocation] of original.relocations.entries()) {
      const { type, addend } = relocation;
      const isAddress = type === spec.R_X86_64_RELATIVE || type === spec.R_X86_64_IRELATIVE;
      const to = isAddress ? expected(addend) : addend;
      if (to !== addend) relocated++;
      expect(changed.relocations[i]).toEqual({ ...relocation, addend: to });
      if (type !== spec.R_X86_64_JUMP_SLOT) continue;
      expect(wordAt(changed, relocation.rva)).toBe(expected(wordAt(original, relocation.rva)));
    }
    expect(relocated).toBeGreaterThan(file === 'main' ? 1 : 6);
    for (const tag of [spec.DT_INIT, spec.DT_FINI]) {
      expect(changed.dynamic.value(tag)).toBe(Number(expected(BigInt(original.dynamic.value(tag) ?? 0))));
    }
    expect(changed.header.entry).toBe(Number(expected(BigInt(original.header.entry))));
  });

  it('of a program with fixed addresses leads there only where nothing can compare addresses', () => {
    const { original, changed, module } = scene.changeOf('fixed');
    const copy = (at: number): number => module.map.copyOf(rva(at)) ?? 0;
    expect(changed.symbols).toEqual(original.symbols);
    expect(changed.relocations).toEqual(original.relocations);
    expect(changed.header.entry).toBe(copy(original.header.entry));
    const array = original.dynamic.value(spec.DT_INIT_ARRAY) ?? 0;
    const size = original.dynamic.value(spec.DT_INIT_ARRAYSZ) ?? 0;
    expect(size).toBeGreaterThan(8);
    for (let at = array; at < array + size; at += 8) {
      expect(Number(wordAt(changed, rva(at)))).toBe(copy(Number(wordAt(original, rva(at)))));
    }
  });

  /** The library with a relocation of a table of functions changed into one that counts from a symbol. */
  function countedFrom(asSection: boolean, far: boolean): { bytes: Buffer; place: number; target: number } {
    const image = readElfFile(scene.path('lib.so'));
    const bytes = Buffer.from(image.bytes);
    const symbol = image.symbols.find(({ name }) => name === 'replaced');
    const subtract = image.staticSymbols.find(({ name }) => name === 'subtract')?.rva ?? 0;
    const table = image.dynamicRelocations.find(({ name }) => name === 'DT_RELA');
    const row = table?.relocations.findIndex(({ addend }) => addend === BigInt(subtract)) ?? -1;
    if (symbol?.rva === undefined || table === undefined || row < 0) throw new Error('an unexpected library');
    const at = table.offset + row * spec.RELA_SIZE;
    bytes.writeUInt32LE(spec.R_X86_64_64, at + 8);
    bytes.writeUInt32LE(symbol.index, at + 12);
    bytes.writeBigInt64LE(far || asSection ? BigInt(subtract - symbol.rva) : 0n, at + 16);
    const record = image.dynamic.offsetOf(spec.DT_SYMTAB) + symbol.index * spec.SYM_SIZE;
    if (asSection) bytes[record + 4] = spec.STT_SECTION;
    return { bytes, place: row, target: subtract };
  }

  it('from a section’s symbol is told by the addend', () => {
    const { bytes, place, target } = countedFrom(true, true);
    const image = readElf(bytes, 'sections.so');
    const analysis = analysed(scene.path('lib.so'));
    const result = rewriteModule(image, analysis, { hot: allUnits(analysis), cold: 'file' });
    if (result.kind === 'kept') throw new Error(result.reason);
    const changed = readElf(result.bytes, 'sections.so');
    const relocation = changed.dynamicRelocations.find(({ name }) => name === 'DT_RELA')?.relocations[place];
    const symbol = changed.symbols[relocation?.symbol ?? 0];
    expect(symbol?.value).toBe(image.symbols[relocation?.symbol ?? 0]?.value);
    expect((symbol?.value ?? 0n) + (relocation?.addend ?? 0n)).toBe(
      BigInt(result.map.copyOf(rva(target)) ?? 0),
    );
  });

  it('from a function’s symbol to another function keeps the function where it is', () => {
    const { bytes } = countedFrom(false, true);
    const image = readElf(bytes, 'far.so');
    const analysis = analysed(scene.path('lib.so'));
    const result = rewriteModule(image, analysis, { hot: allUnits(analysis), cold: 'file' });
    if (result.kind === 'kept') throw new Error(result.reason);
    const replaced = image.symbols.find(({ name }) => name === 'replaced')?.rva;
    expect(result.kept).toEqual([
      { kind: 'kept', reason: 'a relocation counts from its symbol to somewhere else', at: replaced },
    ]);
    expect(readElf(result.bytes, 'far.so').symbols.find(({ name }) => name === 'replaced')?.rva).toBe(
      replaced,
    );
  });
});
