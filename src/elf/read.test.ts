import { describe, expect, it } from 'vitest';
import { TINY_BUILD_ID, tinyElf } from '../../test/support/tiny-elf.ts';
import { fileOffset, rva } from '../base/brands.ts';
import { readElf, readElfFile } from './read.ts';
import * as spec from './spec.ts';

const tiny = tinyElf();
const image = readElf(tiny.bytes, 'tiny.so');
/** What the data segment's addresses are above its offsets. */
const BIAS = 0x1000;
const data = tiny.at.data + BIAS;

describe('readElf', () => {
  it('reads what the file says of itself', () => {
    expect({
      type: image.header.type,
      needed: image.needed,
      soname: image.soname,
      rpath: image.rpath,
      runpath: image.runpath,
      interp: image.interp,
      buildId: image.buildId,
    }).toEqual({
      type: spec.ET_DYN,
      needed: ['libneeded.so.1'],
      soname: 'libtiny.so.1',
      rpath: undefined,
      runpath: '$ORIGIN/lib',
      interp: '/lib/ld-tiny.so',
      buildId: TINY_BUILD_ID,
    });
  });

  it('maps addresses to places in the file and back', () => {
    const text = tiny.at.text;
    expect(image.offsetOf(rva(text))).toBe(text);
    expect(image.rvaOf(fileOffset(text))).toBe(text);
    expect(image.offsetOf(rva(data))).toBe(tiny.at.data);
    expect(image.rvaOf(fileOffset(tiny.at.data))).toBe(data);
    expect(image.segmentOf(rva(data))?.index).toBe(2);
  });

  it('knows where a segment ends in the file and in memory', () => {
    const bss = rva(data + 64);
    expect(image.segmentOf(bss)?.index).toBe(2);
    expect(image.offsetOf(bss)).toBeUndefined();
    expect(image.segmentOf(rva(bss + 0x3f))?.index).toBe(2);
    expect(image.segmentOf(rva(bss + 0x40))).toBeUndefined();
    // Between the two segments, and behind what is loaded of the file.
    expect(image.segmentOf(rva(tiny.at.dynamic))).toBeUndefined();
    expect(image.rvaOf(fileOffset(tiny.at.symtab))).toBeUndefined();
  });

  it('reads dynamic symbols with versions', () => {
    const shown = image.symbols.map(({ name, rva, value, section, version }) => [
      name,
      rva,
      value,
      section,
      version,
    ]);
    const absolute = 0xffff_ffff_ffff_fff0n;
    expect(shown).toEqual([
      ['', undefined, 0n, undefined, undefined],
      ['puts', undefined, 0n, undefined, { name: 'NEEDED_1.0', hidden: false, library: 'libneeded.so.1' }],
      ['tiny_function', tiny.at.text, BigInt(tiny.at.text), 13, { name: 'TINY_1.0', hidden: false }],
      ['tiny_data', data, BigInt(data), 15, { name: 'TINY_1.0', hidden: true }],
      ['tiny_absolute', undefined, absolute, undefined, undefined],
    ]);
    expect(image.staticSymbols.map(({ name }) => name)).toEqual(['', 'local_function']);
  });

  it('reads RELR, RELA and JMPREL in the order of the dynamic loader', () => {
    const { R_X86_64_RELATIVE: RELATIVE, R_X86_64_GLOB_DAT: GLOB_DAT, R_X86_64_JUMP_SLOT: JUMP_SLOT } = spec;
    const text = BigInt(tiny.at.text);
    expect(
      image.relocations.map(({ rva, type, symbol, addend }) => [rva - data, type, symbol, addend]),
    ).toEqual([
      [32, RELATIVE, 0, text],
      [40, RELATIVE, 0, text + 1n],
      [56, RELATIVE, 0, text + 2n],
      [0, RELATIVE, 0, text],
      [8, GLOB_DAT, 1, 0n],
      [16, spec.R_X86_64_64, 3, -8n],
      [24, JUMP_SLOT, 1, 0n],
    ]);
  });

  it('does without section headers, and counts symbols by either hash table', () => {
    for (const without of [['sections'], ['sections', 'hash']] as const) {
      const stripped = readElf(tinyElf(without).bytes, 'stripped.so');
      expect(stripped.sections).toEqual([]);
      expect(stripped.symbols.map(({ name }) => name)).toEqual(image.symbols.map(({ name }) => name));
      expect(stripped.relocations.map(({ type }) => type)).toEqual(image.relocations.map(({ type }) => type));
      expect(stripped.buildId).toBe(TINY_BUILD_ID);
      expect(stripped.needed).toEqual(image.needed);
    }
  });

  it('takes PLT relocations once where DT_RELASZ counts them in', () => {
    const bytes = Uint8Array.from(tiny.bytes);
    new DataView(bytes.buffer).setBigUint64(tiny.tag(spec.DT_RELASZ) + 8, 96n, true);
    const joined = readElf(bytes, 'joined.so');
    expect(joined.relocations).toEqual(image.relocations);
  });

  it('reads counts that are too large for the ELF header from section header 0', () => {
    const bytes = Uint8Array.from(tiny.bytes);
    const view = new DataView(bytes.buffer);
    const first = tiny.at.sections;
    view.setBigUint64(first + 32, BigInt(view.getUint16(60, true)), true);
    view.setUint32(first + 40, view.getUint16(62, true), true);
    view.setUint32(first + 44, view.getUint16(56, true), true);
    view.setUint16(56, spec.PN_XNUM, true);
    view.setUint16(60, 0, true);
    view.setUint16(62, spec.SHN_XINDEX, true);
    const large = readElf(bytes, 'large.so');
    expect(large.segments).toEqual(image.segments);
    expect(large.sections.slice(1)).toEqual(image.sections.slice(1));
  });

  it('names files that cannot be read', () => {
    for (const path of ['/nowhere/at/all', '/dev/null', import.meta.dirname]) {
      expect(() => readElfFile(path)).toThrow(
        expect.objectContaining({ code: 'E_FILE_NOT_READABLE', where: path }),
      );
    }
  });
});
