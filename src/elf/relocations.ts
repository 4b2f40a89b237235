/**
 * Relocations: RELA tables, and RELR, the packed table of relative ones.
 *
 * RELR, by example: the words `0x4000, 0b1011` say 0x4000, 0x4008 and 0x4018. An even word is an
 * address; an odd one is a bitmap over the 63 words after the last place, its bit 1 for the first.
 * Limits: REL tables are refused; the x86-64 psABI has RELA only.
 */
import { type FileOffset, fileOffset, type Rva, rva } from '../base/brands.ts';
import { type ElfBytes, safeU64 } from './bytes.ts';
import type { DynamicTables } from './dynamic.ts';
import { elfError } from './errors.ts';
import { type Section, sectionLabel, sectionTable } from './sections.ts';
import type { SegmentMap } from './segments.ts';
import * as spec from './spec.ts';

export interface Relocation {
  /** The place to patch. In an object file (ET_REL), which has no addresses: from the start of its section. */
  readonly rva: Rva;
  /** R_X86_64_… */
  readonly type: number;
  /** Index into the symbol table; 0 for none. */
  readonly symbol: number;
  /** Signed, 64 bits. For RELR: what the word in the file holds. */
  readonly addend: bigint;
}

export interface RelocationTable {
  /** DT_RELA, DT_JMPREL, DT_RELR, or the section's name. */
  readonly name: string;
  readonly kind: 'rela' | 'relr';
  readonly offset: FileOffset;
  readonly size: number;
  readonly relocations: readonly Relocation[];
}

interface Source {
  readonly file: ElfBytes;
  readonly map: SegmentMap;
}

/** The tables that the dynamic loader applies, in its order. @throws E_ELF_DYNAMIC, E_ELF_RELOCATION. */
export function dynamicRelocationTables(source: Source, dynamic: DynamicTables): readonly RelocationTable[] {
  if ((dynamic.value(spec.DT_RELSZ) ?? 0) > 0) dynamic.fail(spec.DT_REL, 'REL tables do not exist on x86-64');
  const pltKind = dynamic.value(spec.DT_PLTREL);
  if (pltKind !== undefined && pltKind !== spec.DT_RELA)
    dynamic.fail(spec.DT_PLTREL, `${pltKind} is not DT_RELA`);
  dynamic.expectRecordSize(spec.DT_RELAENT, spec.RELA_SIZE);
  dynamic.expectRecordSize(spec.DT_RELRENT, spec.RELR_SIZE);
  const relr = dynamicTable(source, dynamic, 'DT_RELR', spec.DT_RELR, dynamic.value(spec.DT_RELRSZ) ?? 0);
  const jmprel = dynamicTable(
    source,
    dynamic,
    'DT_JMPREL',
    spec.DT_JMPREL,
    dynamic.value(spec.DT_PLTRELSZ) ?? 0,
  );
  const rela = dynamicTable(source, dynamic, 'DT_RELA', spec.DT_RELA, relaSize(dynamic));
  return [relr, rela, jmprel].filter((table) => table !== undefined);
}

/** DT_RELASZ may count the records of DT_JMPREL at the table's end in, as ld.so allows. */
function relaSize(dynamic: DynamicTables): number {
  const start = dynamic.value(spec.DT_RELA);
  const size = dynamic.value(spec.DT_RELASZ) ?? 0;
  const plt = dynamic.value(spec.DT_JMPREL);
  const pltSize = dynamic.value(spec.DT_PLTRELSZ) ?? 0;
  if (start === undefined || plt === undefined || pltSize > size) return size;
  return plt + pltSize === start + size ? size - pltSize : size;
}

function dynamicTable(
  source: Source,
  dynamic: DynamicTables,
  name: string,
  tag: number,
  size: number,
): RelocationTable | undefined {
  if (size === 0 || dynamic.value(tag) === undefined) return undefined;
  const kind = tag === spec.DT_RELR ? 'relr' : 'rela';
  if (size % (kind === 'relr' ? spec.RELR_SIZE : spec.RELA_SIZE) !== 0) {
    dynamic.fail(tag, `${size} bytes are no whole number of records`);
  }
  const table = dynamic.table(tag, size);
  const offset = fileOffset(dynamic.offsetOf(tag));
  return { name, kind, offset, size, relocations: readTable(source, name, kind, table, wordsOf(source)) };
}

/** The tables that sections describe. @throws E_ELF_SECTION, E_ELF_RELOCATION where they overlap. */
export function sectionRelocationTables(
  source: Source,
  sections: readonly Section[],
): readonly RelocationTable[] {
  const tables: RelocationTable[] = [];
  let room = source.file.size;
  let words = wordsOf(source);
  for (const section of sections) {
    const kind =
      section.type === spec.SHT_RELA ? 'rela' : section.type === spec.SHT_RELR ? 'relr' : undefined;
    if (kind === undefined) continue;
    room -= section.size;
    const part = sectionLabel(section);
    if (room < 0)
      fail(source.file, part, 'the relocation sections overlap: together they are larger than the file');
    const table = sectionTable(source.file, section, kind === 'relr' ? spec.RELR_SIZE : spec.RELA_SIZE);
    const relocations = readTable(source, part, kind, table, words);
    if (kind === 'relr') words -= relocations.length;
    tables.push({ name: section.name, kind, offset: section.offset, size: section.size, relocations });
  }
  return tables;
}

/** Every RELR relocation patches a word of the file of its own, which bounds what bitmaps can unfold to. */
const wordsOf = ({ file }: Source): number => Math.floor(file.size / spec.RELR_SIZE);

function readTable(
  source: Source,
  part: string,
  kind: 'rela' | 'relr',
  table: DataView,
  mostRelr: number,
): readonly Relocation[] {
  return kind === 'relr' ? readRelr(source, part, table, mostRelr) : readRela(source.file, part, table);
}

function readRela(file: ElfBytes, part: string, table: DataView): readonly Relocation[] {
  return Array.from({ length: table.byteLength / spec.RELA_SIZE }, (_, index) => {
    const at = index * spec.RELA_SIZE;
    const place = safeU64(table, at);
    if (place === undefined) fail(file, part, `relocation ${index}: r_offset is above 2^53`);
    return {
      rva: rva(place),
      type: table.getUint32(at + 8, true),
      symbol: table.getUint32(at + 12, true),
      addend: table.getBigInt64(at + 16, true),
    };
  });
}

function readRelr(source: Source, part: string, table: DataView, most: number): readonly Relocation[] {
  const { file } = source;
  const found: Relocation[] = [];
  const add = (place: number): void => {
    if (found.length >= most) fail(file, part, 'it has more relocations than the file has words');
    found.push({
      rva: rva(place),
      type: spec.R_X86_64_RELATIVE,
      symbol: 0,
      addend: wordAt(source, part, place),
    });
  };
  let next: number | undefined;
  for (let at = 0; at < table.byteLength; at += spec.RELR_SIZE) {
    const low = table.getUint32(at, true);
    const high = table.getUint32(at + 4, true);
    if ((low & 1) === 0) {
      const place = safeU64(table, at);
      if (place === undefined) fail(file, part, `word ${at / 8}: the address is above 2^53`);
      add(place);
      next = place + 8;
      continue;
    }
    if (next === undefined) fail(file, part, 'it begins with a bitmap');
    for (let bit = 1; bit < 64; bit++) {
      const set = bit < 32 ? (low >>> bit) & 1 : (high >>> (bit - 32)) & 1;
      if (set === 1) add(next + (bit - 1) * 8);
    }
    next += 63 * 8;
  }
  return found;
}

function wordAt({ file, map }: Source, part: string, place: number): bigint {
  const offset = Number.isSafeInteger(place) ? map.offsetOf(rva(place)) : undefined;
  if (offset === undefined) fail(file, part, `address 0x${place.toString(16)} has no bytes in the file`);
  return file.view(offset, 8, part).getBigInt64(0, true);
}

function fail(file: ElfBytes, part: string, what: string): never {
  throw elfError('E_ELF_RELOCATION', { path: file.path, part, what });
}
