/** The code addresses that a module's tables tell: what the loader calls, symbols, relocations. */
import { type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import type { ElfSymbol } from '../elf/symbols.ts';
import type { CodeMap } from './code-map.ts';
import { NumberList } from './links.ts';

export interface CodeRoots {
  /** Certainly code: called by the loader, or the start of a function symbol. Ascending, each once. */
  readonly certain: Uint32Array;
  /** What relocated words and symbols without a type point to: most often functions, but it can be data. Ascending, each once. */
  readonly pointers: Uint32Array;
  /** Data symbols in executable segments. Ascending, each once. */
  readonly data: Uint32Array;
  /** Function symbols (which are among `certain`), for reports. Ascending, each once. */
  readonly functions: Uint32Array;
}

const ARRAYS = [
  [spec.DT_INIT_ARRAY, spec.DT_INIT_ARRAYSZ],
  [spec.DT_FINI_ARRAY, spec.DT_FINI_ARRAYSZ],
  [spec.DT_PREINIT_ARRAY, spec.DT_PREINIT_ARRAYSZ],
] as const;

const ARRAY_SECTIONS: readonly number[] = [spec.SHT_INIT_ARRAY, spec.SHT_FINI_ARRAY, spec.SHT_PREINIT_ARRAY];

/** @throws WinnowError where relocations or symbols are damaged. */
export function findCodeRoots(image: ElfImage, code: CodeMap): CodeRoots {
  const certain = new NumberList();
  const functions = new NumberList();
  const data = new NumberList();
  const pointers = new NumberList();
  const add = (list: NumberList, at: number | undefined): void => {
    if (at !== undefined && code.has(at)) list.push(at);
  };
  if (image.header.entry !== 0) add(certain, image.header.entry);
  for (const tag of [spec.DT_INIT, spec.DT_FINI]) add(certain, image.dynamic.value(tag));
  for (const symbols of [image.symbols, image.staticSymbols]) {
    for (const symbol of symbols) {
      if (isFunction(symbol)) {
        add(certain, symbol.rva);
        add(functions, symbol.rva);
      } else if (symbol.type === spec.STT_OBJECT) add(data, symbol.rva);
      // Assemblers give symbols no type unless they are told to.
      else if (symbol.type === spec.STT_NOTYPE && symbol.binding !== spec.STB_LOCAL)
        add(pointers, symbol.rva);
    }
  }
  const arrays = arraysOf(image);
  for (const { rva: at, type, symbol, addend } of image.relocations) {
    const value = pointedBy(image, type, symbol, addend);
    if (value === undefined || !code.has(value)) continue;
    pointers.push(value);
    const isCalled =
      type === spec.R_X86_64_IRELATIVE || arrays.some(({ start, end }) => at >= start && at < end);
    if (isCalled) certain.push(value);
  }
  // Where nothing is relocated (ET_EXEC) the arrays' words are addresses already.
  for (const array of arrays) for (const word of wordsOf(image, array)) add(certain, word);
  return {
    certain: certain.sorted(),
    pointers: pointers.sorted(),
    data: data.sorted(),
    functions: functions.sorted(),
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

interface Range {
  readonly start: number;
  readonly end: number;
}

function arraysOf(image: ElfImage): Range[] {
  const ranges: Range[] = [];
  for (const [at, size] of ARRAYS) {
    const start = image.dynamic.value(at);
    if (start !== undefined) ranges.push({ start, end: start + (image.dynamic.value(size) ?? 0) });
  }
  if (ranges.length > 0) return ranges;
  // A static program has no dynamic section; its start-up code knows the arrays' ends.
  return image.sections
    .filter(({ type, flags }) => ARRAY_SECTIONS.includes(type) && (flags & spec.SHF_ALLOC) !== 0)
    .map((section) => ({ start: section.rva, end: section.rva + section.size }));
}

function wordsOf(image: ElfImage, { start, end }: Range): number[] {
  const found: number[] = [];
  const offset = Number.isSafeInteger(start) ? image.offsetOf(rva(start)) : undefined;
  if (offset === undefined) return found;
  const size = Math.min(end - start, image.bytes.length - offset);
  const view = new DataView(image.bytes.buffer, image.bytes.byteOffset + offset, size);
  for (let at = 0; at + 8 <= size; at += 8) {
    const word = view.getBigUint64(at, true);
    if (word > 0n && word <= 0xffff_ffffn) found.push(Number(word));
  }
  return found;
}

/** Relocated places in code: their bytes change when the module is loaded. Ascending. */
export function relocatedCode(image: ElfImage, code: CodeMap): readonly Rva[] {
  const places = image.relocations.filter(({ rva: at }) => code.has(at)).map(({ rva: at }) => at);
  return places.toSorted((a, b) => a - b);
}
