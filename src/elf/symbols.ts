/** Symbol tables: the dynamic one, found through segments, and the static one, found through sections. */
import { type Rva, rva } from '../base/brands.ts';
import { type ElfBytes, safeU64 } from './bytes.ts';
import type { DynamicTables } from './dynamic.ts';
import { elfError } from './errors.ts';
import { linkedStrings, type Section, sectionLabel, sectionTable } from './sections.ts';
import * as spec from './spec.ts';
import type { StringTable } from './strings.ts';
import { type SymbolVersion, SymbolVersions } from './versions.ts';

export interface ElfSymbol {
  readonly index: number;
  readonly name: string;
  /** `st_value`, all 64 bits: absolute symbols hold any number. */
  readonly value: bigint;
  /** The address, where the symbol is defined in the file and has one (not in ET_REL, not STT_TLS). */
  readonly rva?: Rva;
  readonly size: number;
  /** STT_… */
  readonly type: number;
  /** STB_… */
  readonly binding: number;
  /** STV_… */
  readonly visibility: number;
  /** `st_shndx`; SHN_UNDEF, SHN_ABS and SHN_COMMON are of interest. */
  readonly shndx: number;
  /** Index of the section it is defined in, behind SHN_XINDEX too. */
  readonly section?: number;
  /** Dynamic symbols only. */
  readonly version?: SymbolVersion;
}

interface Source {
  readonly path: string;
  readonly part: string;
  readonly table: DataView;
  readonly strings: StringTable;
  readonly hasAddresses: boolean;
  /** SHT_SYMTAB_SHNDX: 32-bit section indexes. */
  readonly extended?: DataView;
  readonly versions?: SymbolVersions;
}

/** The symbols that the dynamic loader sees. @throws E_ELF_DYNAMIC, E_ELF_STRING, E_ELF_SYMBOL. */
export function readDynamicSymbols(
  file: ElfBytes,
  dynamic: DynamicTables,
  count: number,
): readonly ElfSymbol[] {
  if (count === 0) return [];
  dynamic.expectRecordSize(spec.DT_SYMENT, spec.SYM_SIZE);
  const table = dynamic.table(spec.DT_SYMTAB, count * spec.SYM_SIZE);
  const strings = dynamic.strings();
  const versions = new SymbolVersions(dynamic, strings, count);
  return readAll({ path: file.path, part: 'DT_SYMTAB', table, strings, hasAddresses: true, versions });
}

/** The symbols of SHT_SYMTAB, most often stripped. @throws E_ELF_SECTION, E_ELF_STRING, E_ELF_SYMBOL. */
export function readStaticSymbols(
  file: ElfBytes,
  sections: readonly Section[],
  hasAddresses: boolean,
): readonly ElfSymbol[] {
  const section = sections.find(({ type }) => type === spec.SHT_SYMTAB);
  if (section === undefined) return [];
  const table = sectionTable(file, section, spec.SYM_SIZE);
  const strings = linkedStrings(file, sections, section);
  const wide = sections.find(({ type, link }) => type === spec.SHT_SYMTAB_SHNDX && link === section.index);
  const extended = wide && file.view(wide.offset, wide.size, sectionLabel(wide));
  const source = { path: file.path, part: sectionLabel(section), table, strings, hasAddresses };
  return readAll(extended === undefined ? source : { ...source, extended });
}

function readAll(source: Source): readonly ElfSymbol[] {
  const count = source.table.byteLength / spec.SYM_SIZE;
  return Array.from({ length: count }, (_, index) => readSymbol(source, index));
}

function readSymbol(source: Source, index: number): ElfSymbol {
  const { table } = source;
  const at = index * spec.SYM_SIZE;
  const info = table.getUint8(at + 4);
  const type = info & 0xf;
  const shndx = table.getUint16(at + 6, true);
  const section = sectionOf(source, index, shndx);
  const size = safeU64(table, at + 16);
  if (size === undefined) {
    throw elfError('E_ELF_SYMBOL', {
      path: source.path,
      part: source.part,
      what: `symbol ${index}: st_size is above 2^53`,
    });
  }
  const place = safeU64(table, at + 8);
  const hasRva = place !== undefined && section !== undefined && source.hasAddresses && type !== spec.STT_TLS;
  const version = source.versions?.of(index);
  return {
    index,
    name: source.strings.at(table.getUint32(at, true)),
    value: table.getBigUint64(at + 8, true),
    ...(hasRva ? { rva: rva(place) } : {}),
    size,
    type,
    binding: info >>> 4,
    visibility: table.getUint8(at + 5) & 3,
    shndx,
    ...(section === undefined ? {} : { section }),
    ...(version === undefined ? {} : { version }),
  };
}

function sectionOf(source: Source, index: number, shndx: number): number | undefined {
  if (shndx === spec.SHN_UNDEF) return undefined;
  if (shndx < spec.SHN_LORESERVE) return shndx;
  const { extended } = source;
  if (shndx !== spec.SHN_XINDEX || extended === undefined || index * 4 + 4 > extended.byteLength)
    return undefined;
  return extended.getUint32(index * 4, true);
}
