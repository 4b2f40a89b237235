/**
 * A small sound shared object, assembled in memory: every table that the reader knows, a few records in
 * each, and where each record stands, so that a test can damage one field of it.
 */
import * as spec from '../../src/elf/spec.ts';
import { join, rela, Strings, symbol, u16, u32, u64 } from './elf-records.ts';

export interface TinyElf {
  readonly bytes: Uint8Array;
  /** Offset in the file of each part, by name. */
  readonly at: Readonly<Record<Part, number>>;
  /** Program headers and section headers by name: offset of the header. */
  readonly segment: Readonly<Record<'interp' | 'text' | 'data' | 'dynamic' | 'note', number>>;
  readonly section: (name: string) => number;
  /** Offset of a dynamic entry. */
  readonly tag: (tag: number) => number;
}

type Part = (typeof PARTS)[number];
const PARTS = [
  'interp',
  'note',
  'hash',
  'gnuHash',
  'dynsym',
  'dynstr',
  'versym',
  'verdef',
  'verneed',
  'rela',
  'jmprel',
  'relr',
  'text',
  'dynamic',
  'data',
  'symtab',
  'strtab',
  'shstrtab',
  'sections',
] as const;

/** The data segment is loaded one page higher than it stands in the file. */
const DATA_BIAS = 0x1000;
const BSS = 0x40;
export const TINY_BUILD_ID = '000102030405060708090a0b0c0d0e0f10111213';

/** @param without the tables that the file is to do without: 'hash' leaves DT_GNU_HASH alone to count symbols. */
export function tinyElf(without: readonly ('hash' | 'sections')[] = []): TinyElf {
  const dynstr = new Strings();
  const name = {
    needed: dynstr.add('libneeded.so.1'),
    soname: dynstr.add('libtiny.so.1'),
    runpath: dynstr.add('$ORIGIN/lib'),
    puts: dynstr.add('puts'),
    tinyFunction: dynstr.add('tiny_function'),
    tinyData: dynstr.add('tiny_data'),
    absolute: dynstr.add('tiny_absolute'),
    needs: dynstr.add('NEEDED_1.0'),
    defines: dynstr.add('TINY_1.0'),
  };
  const strtab = new Strings();
  const localName = strtab.add('local_function');
  const shstrtab = new Strings();

  // Sizes first: places follow from them, and contents from the places.
  const size: Record<Part, number> = {
    interp: 16,
    note: 36,
    hash: 8 + 4 + 5 * 4,
    gnuHash: 16 + 8 + 4 + 3 * 4,
    dynsym: 5 * 24,
    dynstr: dynstr.bytes.length,
    versym: 10,
    verdef: 2 * 28,
    verneed: 32,
    rela: 3 * 24,
    jmprel: 24,
    relr: 16,
    text: 16,
    dynamic: 26 * 16,
    data: 64,
    symtab: 2 * 24,
    strtab: strtab.bytes.length,
    shstrtab: 256,
    sections: 0,
  };
  const SEGMENTS = 5;
  const at: Record<Part, number> = { ...size };
  let next = spec.EHDR_SIZE + SEGMENTS * spec.PHDR_SIZE;
  for (const part of PARTS) {
    next = Math.ceil(next / 8) * 8;
    at[part] = next;
    next += size[part];
  }
  const place = (part: Part): number => at[part];
  const address = (part: Part): number =>
    place(part) + (part === 'dynamic' || part === 'data' ? DATA_BIAS : 0);
  const data = address('data');

  const tags: readonly (readonly [number, number])[] = [
    [spec.DT_NEEDED, name.needed],
    [spec.DT_SONAME, name.soname],
    [spec.DT_RUNPATH, name.runpath],
    ...(without.includes('hash') ? [] : [[spec.DT_HASH, address('hash')] as const]),
    [spec.DT_GNU_HASH, address('gnuHash')],
    [spec.DT_STRTAB, address('dynstr')],
    [spec.DT_STRSZ, size.dynstr],
    [spec.DT_SYMTAB, address('dynsym')],
    [spec.DT_SYMENT, 24],
    [spec.DT_VERSYM, address('versym')],
    [spec.DT_VERDEF, address('verdef')],
    [spec.DT_VERDEFNUM, 2],
    [spec.DT_VERNEED, address('verneed')],
    [spec.DT_VERNEEDNUM, 1],
    [spec.DT_RELA, address('rela')],
    [spec.DT_RELASZ, size.rela],
    [spec.DT_RELAENT, 24],
    [spec.DT_JMPREL, address('jmprel')],
    [spec.DT_PLTRELSZ, size.jmprel],
    [spec.DT_PLTREL, spec.DT_RELA],
    [spec.DT_RELR, address('relr')],
    [spec.DT_RELRSZ, size.relr],
    [spec.DT_RELRENT, 8],
  ];
  const FUNC = (spec.STB_GLOBAL << 4) | spec.STT_FUNC;
  const OBJECT = (spec.STB_GLOBAL << 4) | spec.STT_OBJECT;
  const TEXT_SECTION = without.includes('hash') ? 12 : 13;
  const DATA_SECTION = TEXT_SECTION + 2;
  const content: Partial<Record<Part, Uint8Array>> = {
    interp: Buffer.from('/lib/ld-tiny.so\0'),
    note: join(u32(4, 20, spec.NT_GNU_BUILD_ID), Buffer.from('GNU\0'), Buffer.from(TINY_BUILD_ID, 'hex')),
    hash: u32(1, 5, 1, 0, 2, 3, 4, 0),
    // One bucket whose chain begins at symbol 2; the odd hash at its end closes it.
    gnuHash: join(u32(1, 2, 1, 6), u64(-1n), u32(2), u32(0x10, 0x20, 0x31)),
    dynsym: join(
      symbol(0, 0, 0, 0, 0),
      symbol(name.puts, FUNC, spec.SHN_UNDEF, 0, 0),
      symbol(name.tinyFunction, FUNC, TEXT_SECTION, address('text'), 16),
      symbol(name.tinyData, OBJECT, DATA_SECTION, data, 64),
      symbol(name.absolute, OBJECT, spec.SHN_ABS, 0xffff_ffff_ffff_fff0n, 0),
    ),
    dynstr: dynstr.bytes,
    versym: u16(0, 3, 2, 2 | spec.VERSYM_HIDDEN, 1),
    verdef: join(
      join(u16(1, spec.VER_FLG_BASE, 1, 1), u32(0, 20, 28), u32(name.soname, 0)),
      join(u16(1, 0, 2, 1), u32(0, 20, 0), u32(name.defines, 0)),
    ),
    verneed: join(u16(1, 1), u32(name.needed, 16, 0), u32(0), u16(0, 3), u32(name.needs, 0)),
    rela: join(
      rela(data, 0, spec.R_X86_64_RELATIVE, address('text')),
      rela(data + 8, 1, spec.R_X86_64_GLOB_DAT, 0),
      rela(data + 16, 3, spec.R_X86_64_64, -8),
    ),
    jmprel: rela(data + 24, 1, spec.R_X86_64_JUMP_SLOT, 0),
    // The address itself, then its bitmap: the first and the third word behind it.
    relr: u64(data + 32, 0b1011),
    text: Buffer.alloc(16, 0xc3),
    dynamic: join(...tags.map(([tag, value]) => u64(tag, value))),
    data: u64(0, 0, 0, 0, address('text'), address('text') + 1, 0, address('text') + 2),
    symtab: join(symbol(0, 0, 0, 0, 0), symbol(localName, spec.STT_FUNC, TEXT_SECTION, address('text'), 4)),
    strtab: strtab.bytes,
  };

  interface Row {
    readonly title: string;
    readonly type: number;
    readonly flags: number;
    readonly part?: Part;
    readonly link?: string;
    readonly info?: number;
    readonly entry?: number;
  }
  const A = spec.SHF_ALLOC;
  const WA = A | spec.SHF_WRITE;
  const rows: readonly Row[] = [
    { title: '', type: spec.SHT_NULL, flags: 0 },
    { title: '.interp', type: spec.SHT_PROGBITS, flags: A, part: 'interp' },
    { title: '.note.gnu.build-id', type: spec.SHT_NOTE, flags: A, part: 'note' },
    ...(without.includes('hash')
      ? []
      : [
          { title: '.hash', type: spec.SHT_HASH, flags: A, part: 'hash', link: '.dynsym', entry: 4 } as const,
        ]),
    { title: '.gnu.hash', type: spec.SHT_GNU_HASH, flags: A, part: 'gnuHash', link: '.dynsym' },
    {
      title: '.dynsym',
      type: spec.SHT_DYNSYM,
      flags: A,
      part: 'dynsym',
      link: '.dynstr',
      info: 1,
      entry: 24,
    },
    { title: '.dynstr', type: spec.SHT_STRTAB, flags: A, part: 'dynstr' },
    { title: '.gnu.version', type: spec.SHT_GNU_versym, flags: A, part: 'versym', link: '.dynsym', entry: 2 },
    {
      title: '.gnu.version_d',
      type: spec.SHT_GNU_verdef,
      flags: A,
      part: 'verdef',
      link: '.dynstr',
      info: 2,
    },
    {
      title: '.gnu.version_r',
      type: spec.SHT_GNU_verneed,
      flags: A,
      part: 'verneed',
      link: '.dynstr',
      info: 1,
    },
    { title: '.rela.dyn', type: spec.SHT_RELA, flags: A, part: 'rela', link: '.dynsym', entry: 24 },
    { title: '.rela.plt', type: spec.SHT_RELA, flags: A, part: 'jmprel', link: '.dynsym', entry: 24 },
    { title: '.relr.dyn', type: spec.SHT_RELR, flags: A, part: 'relr', entry: 8 },
    { title: '.text', type: spec.SHT_PROGBITS, flags: A | spec.SHF_EXECINSTR, part: 'text' },
    { title: '.dynamic', type: spec.SHT_DYNAMIC, flags: WA, part: 'dynamic', link: '.dynstr', entry: 16 },
    { title: '.data', type: spec.SHT_PROGBITS, flags: WA, part: 'data' },
    { title: '.bss', type: spec.SHT_NOBITS, flags: WA },
    {
      title: '.symtab',
      type: spec.SHT_SYMTAB,
      flags: 0,
      part: 'symtab',
      link: '.strtab',
      info: 2,
      entry: 24,
    },
    { title: '.strtab', type: spec.SHT_STRTAB, flags: 0, part: 'strtab' },
    { title: '.shstrtab', type: spec.SHT_STRTAB, flags: 0, part: 'shstrtab' },
  ];
  const indexOf = (title: string): number => rows.findIndex((row) => row.title === title);
  const dataEnd = place('data') + size.data;
  const headers = rows.map(({ title, type, flags, part, link, info, entry }) => {
    const [offset, length] = part === undefined ? [dataEnd, BSS] : [place(part), size[part]];
    if (type === spec.SHT_NULL) return Buffer.alloc(64);
    const rva = (flags & A) === 0 ? 0 : part === undefined ? dataEnd + DATA_BIAS : address(part);
    return join(
      u32(shstrtab.add(title), type),
      u64(flags, rva, offset, length),
      u32(link === undefined ? 0 : indexOf(link), info ?? 0),
      u64(1, entry ?? 0),
    );
  });

  const bytes = Buffer.alloc(
    place('sections') + (without.includes('sections') ? 0 : rows.length * spec.SHDR_SIZE),
  );
  for (const part of PARTS) bytes.set(content[part] ?? [], place(part));
  bytes.set(shstrtab.bytes, place('shstrtab'));
  if (!without.includes('sections')) bytes.set(join(...headers), place('sections'));
  bytes.set(
    join(
      Buffer.from('\x7fELF\x02\x01\x01', 'latin1'),
      Buffer.alloc(9),
      u16(spec.ET_DYN, spec.EM_X86_64),
      u32(1),
      u64(address('text'), spec.EHDR_SIZE, without.includes('sections') ? 0 : place('sections')),
      u32(0),
      u16(64, spec.PHDR_SIZE, SEGMENTS, spec.SHDR_SIZE),
      without.includes('sections') ? u16(0, 0) : u16(rows.length, indexOf('.shstrtab')),
    ),
  );
  const dataAt = place('dynamic');
  const segments: readonly (readonly [number, number, number, number, number, number, number])[] = [
    [spec.PT_INTERP, spec.PF_R, place('interp'), place('interp'), size.interp, size.interp, 1],
    [spec.PT_LOAD, spec.PF_R | spec.PF_X, 0, 0, dataAt, dataAt, 0x1000],
    [
      spec.PT_LOAD,
      spec.PF_R | spec.PF_W,
      dataAt,
      dataAt + DATA_BIAS,
      dataEnd - dataAt,
      dataEnd - dataAt + BSS,
      0x1000,
    ],
    [spec.PT_DYNAMIC, spec.PF_R | spec.PF_W, dataAt, dataAt + DATA_BIAS, size.dynamic, size.dynamic, 8],
    [spec.PT_NOTE, spec.PF_R, place('note'), place('note'), size.note, size.note, 4],
  ];
  const programHeaders = segments.map(([type, flags, offset, rva, file, memory, align]) =>
    join(u32(type, flags), u64(offset, rva, rva, file, memory, align)),
  );
  bytes.set(join(...programHeaders), spec.EHDR_SIZE);

  const segmentAt = (index: number): number => spec.EHDR_SIZE + index * spec.PHDR_SIZE;
  return {
    bytes,
    at,
    segment: {
      interp: segmentAt(0),
      text: segmentAt(1),
      data: segmentAt(2),
      dynamic: segmentAt(3),
      note: segmentAt(4),
    },
    section: (title) => place('sections') + indexOf(title) * spec.SHDR_SIZE,
    tag: (tag) => place('dynamic') + tags.findIndex(([t]) => t === tag) * spec.DYN_SIZE,
  };
}
