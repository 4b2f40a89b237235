/**
 * Dynamic symbols and relocations as records in the file, where they can be changed: of large libraries there
 * are hundreds of thousands, so they are shown one after the other in one object.
 */
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { countDynamicSymbols } from '../elf/symbol-count.ts';

/** A dynamic symbol. */
export interface SymbolRecord {
  /** Offset of the record in the file. */
  at: number;
  index: number;
  /** `st_value`; only right where it is below 2^53. */
  value: number;
  /** STT_… */
  type: number;
  /** STB_… */
  binding: number;
  shndx: number;
  /** Its value is the address of code, which may get another one: no section, no marker, no data. */
  movesWithCode: boolean;
}

export interface RelaRecord {
  /** Offset of the record in the file. */
  at: number;
  /** `r_offset`: the place that is patched. */
  place: number;
  /** R_X86_64_… */
  type: number;
  /** Signed; only right within 2^53. */
  addend: number;
  /** The same object for all records. Undefined for symbol 0. */
  symbol: SymbolRecord | undefined;
}

/** Symbols that linkers define to mark a place, whatever stands there. */
const MARKERS =
  /^(_end|end|_?_?etext|_?edata|__bss_start|__executable_start|__ehdr_start|__(start|stop)_.*)$/;

/** A 64-bit field as a number. */
const unsigned = (view: DataView, at: number): number =>
  view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
const signed = (view: DataView, at: number): number =>
  view.getInt32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);

/** The relocated word is the symbol's value and the addend. */
export const pointsFromSymbol = ({ type }: RelaRecord): boolean =>
  type === spec.R_X86_64_64 || type === spec.R_X86_64_GLOB_DAT || type === spec.R_X86_64_JUMP_SLOT;

interface Extent {
  readonly offset: number;
  readonly size: number;
}

function relaTables(image: ElfImage): readonly Extent[] {
  const { dynamic } = image;
  if (dynamic.entries.length === 0) {
    // A static program relocates itself, by symbols around the sections.
    return image.sections.filter(
      ({ type, flags }) => type === spec.SHT_RELA && (flags & spec.SHF_ALLOC) !== 0,
    );
  }
  const sizes = [
    [spec.DT_RELA, dynamic.value(spec.DT_RELASZ) ?? 0],
    [spec.DT_JMPREL, dynamic.value(spec.DT_PLTRELSZ) ?? 0],
  ] as const;
  return sizes
    .filter(([tag, size]) => size > 0 && dynamic.value(tag) !== undefined)
    .map(([tag, size]) => ({ offset: dynamic.offsetOf(tag), size: dynamic.table(tag, size).byteLength }));
}

/** Shows every RELA record of the file: always the same object. Records that two tables share come twice. */
export function eachRela(image: ElfImage, visit: (relocation: RelaRecord) => void): void {
  const view = viewOf(image.bytes);
  const symbols = symbolReader(image);
  const relocation: RelaRecord = { at: 0, place: 0, type: 0, addend: 0, symbol: undefined };
  for (const { offset, size } of relaTables(image)) {
    for (let at = offset; at + spec.RELA_SIZE <= offset + size; at += spec.RELA_SIZE) {
      const symbol = view.getUint32(at + 12, true);
      relocation.at = at;
      relocation.place = unsigned(view, at);
      relocation.type = view.getUint32(at + 8, true);
      relocation.addend = signed(view, at + 16);
      relocation.symbol = symbol === 0 ? undefined : symbols(symbol);
      visit(relocation);
    }
  }
}

/** Shows every place that DT_RELR patches. */
export function eachRelr(image: ElfImage, visit: (place: number) => void): void {
  const { dynamic } = image;
  const size = dynamic.value(spec.DT_RELRSZ) ?? 0;
  if (size === 0 || dynamic.value(spec.DT_RELR) === undefined) return;
  const table = dynamic.table(spec.DT_RELR, size);
  let next = 0;
  for (let at = 0; at + spec.RELR_SIZE <= size; at += spec.RELR_SIZE) {
    const low = table.getUint32(at, true);
    if ((low & 1) === 0) {
      next = unsigned(table, at);
      visit(next);
      next += 8;
      continue;
    }
    const high = table.getUint32(at + 4, true);
    for (let bit = 1; bit < 64; bit++) {
      const set = bit < 32 ? (low >>> bit) & 1 : (high >>> (bit - 32)) & 1;
      if (set === 1) visit(next + (bit - 1) * 8);
    }
    next += 63 * 8;
  }
}

/** Shows every dynamic symbol: always the same object. */
export function eachDynamicSymbol(image: ElfImage, visit: (symbol: SymbolRecord) => void): void {
  const read = symbolReader(image);
  for (let index = 1; index < dynamicSymbolCount(image); index++) {
    const symbol = read(index);
    if (symbol !== undefined) visit(symbol);
  }
}

/** Symbols of the dynamic table, the empty one counted. */
export function dynamicSymbolCount(image: ElfImage): number {
  return countDynamicSymbols(image.dynamic, image.sections, () => {
    const view = viewOf(image.bytes);
    let highest = 0;
    for (const { offset, size } of relaTables(image)) {
      for (let at = offset; at + spec.RELA_SIZE <= offset + size; at += spec.RELA_SIZE) {
        highest = Math.max(highest, view.getUint32(at + 12, true));
      }
    }
    return highest;
  });
}

function symbolReader(image: ElfImage): (index: number) => SymbolRecord | undefined {
  const { dynamic } = image;
  if (dynamic.value(spec.DT_SYMTAB) === undefined) return () => undefined;
  const table = dynamic.offsetOf(spec.DT_SYMTAB);
  const view = viewOf(image.bytes);
  const nameAt = namesOf(image);
  const symbol = { at: 0, index: 0, value: 0, type: 0, binding: 0, shndx: 0, movesWithCode: false };
  return (index) => {
    const at = table + index * spec.SYM_SIZE;
    if (at + spec.SYM_SIZE > view.byteLength) return undefined;
    const info = view.getUint8(at + 4);
    symbol.at = at;
    symbol.index = index;
    symbol.value = unsigned(view, at + 8);
    symbol.type = info & 15;
    symbol.binding = info >>> 4;
    symbol.shndx = view.getUint16(at + 6, true);
    symbol.movesWithCode = isCode(symbol) && !(symbol.type === spec.STT_NOTYPE && MARKERS.test(nameAt(at)));
    return symbol;
  };
}

/** An undefined symbol with a value is a PLT stub that stands for the function's address. */
const isCode = ({ type, shndx, value }: SymbolRecord): boolean =>
  (type === spec.STT_FUNC || type === spec.STT_GNU_IFUNC || type === spec.STT_NOTYPE) &&
  shndx !== spec.SHN_ABS &&
  shndx !== spec.SHN_COMMON &&
  value !== 0;

function namesOf(image: ElfImage): (symbolAt: number) => string {
  const view = viewOf(image.bytes);
  const strings = image.dynamic.strings();
  return (at) => strings.at(view.getUint32(at, true));
}
