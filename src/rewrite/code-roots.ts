/** The code addresses that a module's tables tell: what the loader calls, symbols, relocations. */
import type { Rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import type { ElfSymbol } from '../elf/symbols.ts';
import type { CodeMap } from './code-map.ts';
import { functionArrays, wordsOfArrays } from './function-arrays.ts';
import { NumberList } from './links.ts';
import type { AddressRange } from './pieces.ts';

export interface CodeRoots {
  /** What the loader calls: the entry point, _init, _fini, constructors, destructors. Ascending, each once. */
  readonly loader: Uint32Array;
  /** Certainly code: those, resolvers of IRELATIVE, function symbols. Ascending, each once. */
  readonly certain: Uint32Array;
  /** Function symbols that others can name. Ascending, each once. */
  readonly exported: Uint32Array;
  /** What relocated words point to: functions, labels; but code can hold data too. Ascending, each once. */
  readonly pointers: Uint32Array;
  /** Symbols that others can name, of which nothing tells what they are: assemblers have to be told. */
  readonly untyped: Uint32Array;
  /** Data symbols in executable segments. */
  readonly data: readonly AddressRange[];
}

/** @throws WinnowError where relocations or symbols are damaged. */
export function findCodeRoots(image: ElfImage, code: CodeMap): CodeRoots {
  const loader = new NumberList();
  const certain = new NumberList();
  const exported = new NumberList();
  const data: AddressRange[] = [];
  const pointers = new NumberList();
  const untyped = new NumberList();
  const add = (list: NumberList, at: number | undefined): void => {
    if (at !== undefined && code.has(at)) list.push(at);
  };
  if (image.header.entry !== 0) add(loader, image.header.entry);
  for (const tag of [spec.DT_INIT, spec.DT_FINI]) add(loader, image.dynamic.value(tag));
  const addData = ({ rva: start, size }: ElfSymbol): void => {
    if (start !== undefined && code.has(start)) data.push({ start, end: start + Math.max(size, 1) });
  };
  for (const symbols of [image.symbols, image.staticSymbols]) {
    for (const symbol of symbols) {
      if (isFunction(symbol)) {
        add(certain, symbol.rva);
        if (symbol.binding !== spec.STB_LOCAL) add(exported, symbol.rva);
      } else if (symbol.type === spec.STT_OBJECT) addData(symbol);
      else if (symbol.type === spec.STT_NOTYPE && symbol.binding !== spec.STB_LOCAL) {
        add(untyped, symbol.rva);
      }
    }
  }
  const arrays = functionArrays(image);
  for (const { rva: at, type, symbol, addend } of image.relocations) {
    const value = pointedBy(image, type, symbol, addend);
    if (value === undefined || !code.has(value)) continue;
    pointers.push(value);
    if (type === spec.R_X86_64_IRELATIVE) certain.push(value);
    if (arrays.some(({ start, end }) => at >= start && at < end)) loader.push(value);
  }
  // Where nothing is relocated (ET_EXEC) the arrays' words are addresses already.
  for (const word of wordsOfArrays(image)) add(loader, word);
  for (const at of loader.values) certain.push(at);
  return {
    loader: loader.sorted(),
    certain: certain.sorted(),
    exported: exported.sorted(),
    pointers: pointers.sorted(),
    untyped: untyped.sorted(),
    data,
  };
}

const isFunction = ({ type, shndx }: ElfSymbol): boolean =>
  (type === spec.STT_FUNC || type === spec.STT_GNU_IFUNC) && shndx !== spec.SHN_UNDEF;

/** What a relocation makes of its word, where that is an address in this module. */
function pointedBy(image: ElfImage, type: number, symbol: number, addend: bigint): number | undefined {
  let value: bigint;
  if (type === spec.R_X86_64_RELATIVE || type === spec.R_X86_64_IRELATIVE) value = addend;
  else if (type === spec.R_X86_64_64) {
    const at = image.symbols[symbol]?.rva;
    if (at === undefined) return undefined;
    value = BigInt(at) + addend;
  } else return undefined;
  return value >= 0n && value <= 0xffff_ffffn ? Number(value) : undefined;
}

/** Relocated places in code: their bytes change when the module is loaded. Ascending. */
export function relocatedCode(image: ElfImage, code: CodeMap): readonly Rva[] {
  const places = image.relocations.filter(({ rva: at }) => code.has(at)).map(({ rva: at }) => at);
  return places.toSorted((a, b) => a - b);
}

/**
 * The aligned words of data that are addresses of code, where no relocation says so (ET_EXEC). Any number may
 * look like one: nothing is proved by them.
 */
export function codeAddressesInData(image: ElfImage, code: CodeMap): Uint32Array {
  const found = new NumberList();
  for (const { type, flags, offset, fileSize, rva: start } of image.segments) {
    if (type !== spec.PT_LOAD || (flags & spec.PF_X) !== 0) continue;
    const skipped = (8 - (start % 8)) % 8;
    const view = new DataView(image.bytes.buffer, image.bytes.byteOffset + offset, fileSize);
    for (let at = skipped; at + 8 <= fileSize; at += 8) {
      if (view.getUint32(at + 4, true) !== 0) continue;
      const word = view.getUint32(at, true);
      if (code.has(word)) found.push(word);
    }
  }
  return found.sorted();
}
