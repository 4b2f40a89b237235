/** One field of a sound file is changed; the error must have its code and name the part. */
import { describe, expect, it } from 'vitest';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { WinnowError } from '../base/errors.ts';
import type { ElfImage } from './image.ts';
import { readElf } from './read.ts';
import * as spec from './spec.ts';

const tiny = tinyElf();
const HUGE = 0x7fff_ffff_ffff_ff00n;
const BIG = 0x10_0000n;

type Field = readonly [at: number, bits: 8 | 16 | 32 | 64, value: number | bigint];

interface Corruption {
  readonly field: string;
  readonly set: Field | readonly Field[];
  readonly code: string;
  /** Words that `where` or `what` must have. */
  readonly says: string;
}

const text = tiny.segment.text;
const dataSegment = tiny.segment.data;
const value = (tag: number): number => tiny.tag(tag) + 8;
const DYNSYM = tiny.section('.dynsym');

const CORRUPTIONS: readonly Corruption[] = [
  { field: 'magic', set: [1, 8, 0x65], code: 'E_NOT_ELF', says: 'no ELF file' },
  { field: 'EI_CLASS 32', set: [4, 8, 1], code: 'E_ELF_CLASS', says: '32-bit' },
  { field: 'EI_CLASS', set: [4, 8, 7], code: 'E_ELF_CLASS', says: 'EI_CLASS is 7' },
  { field: 'EI_DATA big-endian', set: [5, 8, 2], code: 'E_ELF_DATA', says: 'big-endian' },
  { field: 'EI_DATA', set: [5, 8, 0], code: 'E_ELF_DATA', says: 'EI_DATA is 0' },
  { field: 'EI_VERSION', set: [6, 8, 2], code: 'E_ELF_HEADER', says: 'EI_VERSION is 2' },
  { field: 'e_machine', set: [18, 16, 183], code: 'E_ELF_MACHINE', says: 'aarch64' },
  { field: 'e_machine unknown', set: [18, 16, 9999], code: 'E_ELF_MACHINE', says: 'machine 9999' },
  { field: 'e_version', set: [20, 32, 0], code: 'E_ELF_HEADER', says: 'e_version is 0' },
  { field: 'e_entry', set: [24, 64, HUGE], code: 'E_ELF_VALUE', says: 'e_entry' },
  { field: 'e_phoff', set: [32, 64, BIG], code: 'E_ELF_TRUNCATED', says: 'program headers' },
  { field: 'e_phoff huge', set: [32, 64, HUGE], code: 'E_ELF_VALUE', says: 'e_phoff' },
  { field: 'e_shoff', set: [40, 64, BIG], code: 'E_ELF_TRUNCATED', says: 'section headers' },
  { field: 'e_phentsize', set: [54, 16, 32], code: 'E_ELF_HEADER', says: 'e_phentsize is 32' },
  { field: 'e_phnum', set: [56, 16, 0xfffe], code: 'E_ELF_TRUNCATED', says: 'program headers' },
  { field: 'e_shentsize', set: [58, 16, 40], code: 'E_ELF_HEADER', says: 'e_shentsize is 40' },
  { field: 'e_shnum', set: [60, 16, 0xfffe], code: 'E_ELF_TRUNCATED', says: 'section headers' },
  { field: 'e_shstrndx', set: [62, 16, 999], code: 'E_ELF_SECTION', says: 'names no section' },
  { field: 'e_shstrndx type', set: [62, 16, 1], code: 'E_ELF_SECTION', says: 'names no string table' },
  { field: 'p_offset', set: [text + 8, 64, BIG], code: 'E_ELF_TRUNCATED', says: 'segment 1 (PT_LOAD)' },
  { field: 'p_offset huge', set: [text + 8, 64, HUGE], code: 'E_ELF_VALUE', says: 'p_offset' },
  { field: 'p_offset congruence', set: [dataSegment + 8, 64, 8], code: 'E_ELF_SEGMENT', says: 'p_align' },
  {
    field: 'p_vaddr',
    set: [dataSegment + 16, 64, tiny.at.dynamic],
    code: 'E_ELF_RELOCATION',
    says: 'no bytes in the file',
  },
  {
    field: 'p_vaddr overlap',
    set: [
      [dataSegment + 16, 64, 16],
      [dataSegment + 48, 64, 1],
    ],
    code: 'E_ELF_SEGMENT',
    says: 'overlap',
  },
  { field: 'p_filesz', set: [text + 32, 64, BIG], code: 'E_ELF_TRUNCATED', says: 'segment 1' },
  { field: 'p_memsz', set: [text + 40, 64, 8], code: 'E_ELF_SEGMENT', says: 'above p_memsz' },
  {
    field: 'p_memsz huge',
    set: [dataSegment + 40, 64, 0x1f_ffff_ffff_ffffn],
    code: 'E_ELF_SEGMENT',
    says: 'pass 2^53',
  },
  {
    field: 'PT_NULL p_memsz',
    set: [
      [tiny.segment.note, 32, 0],
      [tiny.segment.note + 40, 64, 0x1f_ffff_ffff_ffffn],
    ],
    code: 'E_ELF_SEGMENT',
    says: 'segment 4 (PT_NULL)',
  },
  { field: 'p_align', set: [text + 48, 64, 0x1001], code: 'E_ELF_SEGMENT', says: 'no power of two' },
  {
    field: 'PT_INTERP',
    set: [tiny.at.interp + 15, 8, 0x78],
    code: 'E_ELF_SEGMENT',
    says: 'segment 0 (PT_INTERP)',
  },
  { field: 'sh_name', set: [DYNSYM, 32, 0xffff], code: 'E_ELF_STRING', says: 'section names' },
  { field: 'sh_addr', set: [DYNSYM + 16, 64, HUGE], code: 'E_ELF_VALUE', says: 'sh_addr' },
  { field: 'sh_offset', set: [DYNSYM + 24, 64, BIG], code: 'E_ELF_TRUNCATED', says: 'section 5' },
  { field: 'sh_size', set: [DYNSYM + 32, 64, BIG], code: 'E_ELF_TRUNCATED', says: 'section 5' },
  {
    field: '.bss sh_size',
    set: [tiny.section('.bss') + 32, 64, 0x1f_ffff_ffff_ffffn],
    code: 'E_ELF_SECTION',
    says: 'pass 2^53',
  },
  {
    field: 'symtab sh_link',
    set: [tiny.section('.symtab') + 40, 32, 2],
    code: 'E_ELF_SECTION',
    says: '.symtab',
  },
  {
    field: 'symtab sh_entsize',
    set: [tiny.section('.symtab') + 56, 64, 16],
    code: 'E_ELF_SECTION',
    says: '.symtab',
  },
  {
    field: 'rela sh_entsize',
    set: [tiny.section('.rela.dyn') + 56, 64, 0],
    code: 'E_ELF_SECTION',
    says: '.rela.dyn',
  },
  { field: 'DT_NEEDED', set: [value(spec.DT_NEEDED), 64, BIG], code: 'E_ELF_STRING', says: 'DT_STRTAB' },
  { field: 'DT_NEEDED huge', set: [value(spec.DT_NEEDED), 64, HUGE], code: 'E_ELF_VALUE', says: 'DT_NEEDED' },
  { field: 'DT_STRTAB', set: [value(spec.DT_STRTAB), 64, BIG], code: 'E_ELF_DYNAMIC', says: 'DT_STRTAB' },
  { field: 'DT_STRSZ', set: [value(spec.DT_STRSZ), 64, BIG], code: 'E_ELF_DYNAMIC', says: 'go past segment' },
  { field: 'DT_SYMENT', set: [value(spec.DT_SYMENT), 64, 16], code: 'E_ELF_DYNAMIC', says: 'DT_SYMENT' },
  { field: 'DT_SYMTAB', set: [value(spec.DT_SYMTAB), 64, BIG], code: 'E_ELF_DYNAMIC', says: 'in no segment' },
  { field: 'DT_VERSYM', set: [value(spec.DT_VERSYM), 64, BIG], code: 'E_ELF_DYNAMIC', says: 'DT_VERSYM' },
  { field: 'vd_next', set: [tiny.at.verdef + 16, 32, 0xffff], code: 'E_ELF_DYNAMIC', says: 'DT_VERDEF' },
  { field: 'vn_aux', set: [tiny.at.verneed + 8, 32, 0xffff], code: 'E_ELF_DYNAMIC', says: 'DT_VERNEED' },
  { field: 'vna_name', set: [tiny.at.verneed + 24, 32, 0xffff], code: 'E_ELF_STRING', says: 'DT_STRTAB' },
  { field: 'DT_RELASZ', set: [value(spec.DT_RELASZ), 64, 71], code: 'E_ELF_DYNAMIC', says: 'DT_RELA' },
  {
    field: 'DT_RELASZ past',
    set: [value(spec.DT_RELASZ), 64, 24 * 99],
    code: 'E_ELF_DYNAMIC',
    says: 'go past segment',
  },
  { field: 'DT_RELAENT', set: [value(spec.DT_RELAENT), 64, 12], code: 'E_ELF_DYNAMIC', says: 'DT_RELAENT' },
  { field: 'DT_PLTREL', set: [value(spec.DT_PLTREL), 64, 17], code: 'E_ELF_DYNAMIC', says: 'DT_PLTREL' },
  {
    field: 'DT_RELSZ',
    set: [[tiny.tag(spec.DT_SONAME), 64, spec.DT_RELSZ]],
    code: 'E_ELF_DYNAMIC',
    says: 'REL tables',
  },
  { field: 'r_offset', set: [tiny.at.rela, 64, HUGE], code: 'E_ELF_RELOCATION', says: 'relocation 0' },
  {
    field: 'RELR address',
    set: [tiny.at.relr, 64, BIG],
    code: 'E_ELF_RELOCATION',
    says: 'no bytes in the file',
  },
  { field: 'RELR order', set: [tiny.at.relr, 64, 3], code: 'E_ELF_RELOCATION', says: 'begins with a bitmap' },
  { field: 'st_name', set: [tiny.at.dynsym + 24, 32, 0xffff], code: 'E_ELF_STRING', says: 'DT_STRTAB' },
  { field: 'st_size', set: [tiny.at.dynsym + 24 + 16, 64, HUGE], code: 'E_ELF_SYMBOL', says: 'symbol 1' },
  { field: 'string end', set: [tiny.at.dynstr + 103, 8, 0x78], code: 'E_ELF_STRING', says: 'has no end' },
];

function corrupted(set: Corruption['set']): Uint8Array {
  const bytes = Uint8Array.from(tiny.bytes);
  const view = new DataView(bytes.buffer);
  const fields: readonly Field[] = isField(set) ? [set] : set;
  for (const [at, bits, value] of fields) {
    if (bits === 8) view.setUint8(at, Number(value));
    else if (bits === 16) view.setUint16(at, Number(value), true);
    else if (bits === 32) view.setUint32(at, Number(value), true);
    else view.setBigUint64(at, BigInt(value), true);
  }
  return bytes;
}

const isField = (set: Corruption['set']): set is Field => typeof set[0] === 'number';

/** Everything that an image reads late. */
const readAll = (image: ElfImage): unknown => [
  image.needed,
  image.soname,
  image.rpath,
  image.runpath,
  image.interp,
  image.buildId,
  image.symbols,
  image.staticSymbols,
  image.relocations,
  image.sectionRelocations,
];

function errorOf(bytes: Uint8Array): unknown {
  try {
    readAll(readElf(bytes, 'broken.so'));
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('a file with one damaged field', () => {
  it('is sound before it is damaged', () => {
    expect(errorOf(corrupted([]))).toBeUndefined();
  });

  it.each(CORRUPTIONS)('$field: $code', ({ set, code, says }) => {
    const error = errorOf(corrupted(set));
    if (!(error instanceof WinnowError)) throw new Error('it was read as a sound file', { cause: error });
    expect(error.code).toBe(code);
    expect(`${error.where}: ${error.what}`).toContain(says);
    expect(error.where).toContain('broken.so');
    expect(error.next).not.toBe('');
  });

  it('is refused wherever it is cut off', () => {
    for (let length = 0; length < tiny.bytes.length; length++) {
      const error = errorOf(tiny.bytes.subarray(0, length));
      expect(error).toBeInstanceOf(WinnowError);
    }
  });

  it('is not read for ever where version records form a ring of many', () => {
    const bytes = corrupted([
      [value(spec.DT_VERNEEDNUM), 64, 0xffff_ffff],
      [tiny.at.verneed + 2, 16, 0xffff],
      [tiny.at.verneed + 28, 32, 1],
    ]);
    expect(errorOf(bytes)).toBeInstanceOf(WinnowError);
  });

  it('is not unfolded without measure where RELR sections repeat one bitmap', () => {
    // Eight sections share one table, whose words are an address and a bitmap by turns.
    const bytes = new Uint8Array(0x4000);
    bytes.set(tiny.bytes);
    const view = new DataView(bytes.buffer);
    const table = 0x2000;
    for (let at = table; at < table + 0x200; at += 16) {
      view.setBigUint64(at, BigInt(tiny.at.hash), true);
      view.setBigUint64(at + 8, 0x1fn, true);
    }
    for (const title of [
      '.rela.dyn',
      '.rela.plt',
      '.relr.dyn',
      '.gnu.hash',
      '.dynstr',
      '.hash',
      '.interp',
      '.data',
    ]) {
      for (const [field, value] of [
        [24, table],
        [32, 0x200],
        [56, 8],
      ] as const) {
        view.setBigUint64(tiny.section(title) + field, BigInt(value), true);
      }
      view.setUint32(tiny.section(title) + 4, spec.SHT_RELR, true);
    }
    const image = readElf(bytes, 'broken.so');
    expect(() => image.sectionRelocations).not.toThrow();
    const unfolded = image.sectionRelocations.reduce((sum, { relocations }) => sum + relocations.length, 0);
    expect(unfolded).toBeLessThanOrEqual(bytes.length / 8);
    for (let at = table; at < table + 0x200; at += 16) view.setBigUint64(at + 8, 0x1f_ffffn, true);
    expect(() => readElf(bytes, 'broken.so').sectionRelocations).toThrow(
      expect.objectContaining({ code: 'E_ELF_RELOCATION' }),
    );
  });
});
