/**
 * What leads into the module's code from outside of it: symbols, relocations, arrays of functions, the entry.
 *
 * Problem: the dynamic loader, other modules and data hold addresses of functions; with copies, these should
 * be the copies' addresses, all of them: programs compare addresses of functions.
 * Example: `R_X86_64_RELATIVE 0x1234` in a table of function pointers becomes `RELATIVE 0x7034`.
 * Method: in a position-independent module, every address that the dynamic loader makes is told by a record:
 * a symbol's value, an addend, a word under DT_RELR. Each that lies in a copied unit, in the middle too,
 * becomes its copy's. Words that a lazily bound PLT begins with are addresses too, without a record of theirs.
 * In ET_EXEC, addresses are plain numbers, in data and in other modules' eyes: they stay. What is only ever
 * called, and compared with nothing, leads to copies there too: the entry, DT_INIT, DT_FINI, the arrays,
 * resolvers of IFUNCs, PLT words.
 * Limits: sections' symbols, markers such as `_end`, data and thread-local symbols stay. So do relocations of
 * fewer than 64 bits, but for what their symbols do.
 */
import { fileOffset, rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { functionArrays } from './function-arrays.ts';
import type { PlacedClones } from './lay-out.ts';
import {
  eachDynamicSymbol,
  eachRela,
  eachRelr,
  pointsFromSymbol,
  type RelaRecord,
} from './relocation-records.ts';

export interface Redirected {
  readonly symbols: number;
  readonly relocations: number;
}

/**
 * Patches the records in place.
 *
 * @param bytes a file that begins as the original does.
 * @param section index of the section that holds the copies; undefined where the file has no sections.
 */
export function redirectEntries(
  image: ElfImage,
  clones: PlacedClones,
  bytes: Uint8Array,
  section: number | undefined,
): Redirected {
  const words = new Words(image, bytes);
  const symbols = clones.canonical === 'copy' ? redirectSymbols(image, clones, words, section) : 0;
  const relocations = redirectRelocations(image, clones, words);
  if (clones.canonical === 'original') redirectArrays(image, clones, words);
  redirectDynamic(image, clones, words);
  words.redirect(24, clones);
  return { symbols, relocations };
}

/** 64-bit words of the file: read as they were, written into the new one. */
class Words {
  readonly #image: ElfImage;
  readonly #from: DataView;
  readonly #to: DataView;

  constructor(image: ElfImage, bytes: Uint8Array) {
    this.#image = image;
    this.#from = viewOf(image.bytes);
    this.#to = viewOf(bytes);
  }

  /** Sets a word that holds the address of copied code to the copy's. */
  redirect(offset: number, clones: PlacedClones): boolean {
    if (this.#from.getUint32(offset + 4, true) !== 0) return false;
    const copy = clones.find(this.#from.getUint32(offset, true));
    if (copy < 0) return false;
    this.#to.setUint32(offset, copy, true);
    return true;
  }

  redirectAt(place: number, clones: PlacedClones): boolean {
    const offset = this.#image.offsetOf(rva(place));
    return offset !== undefined && offset + 8 <= this.#from.byteLength && this.redirect(offset, clones);
  }

  write(offset: number, value: number): void {
    this.#to.setBigInt64(offset, BigInt(value), true);
  }

  /** A symbol's size, where the copy has another one than the original: that of a function that is cut. */
  resize(symbol: number, clones: PlacedClones): void {
    const size = this.#from.getUint32(symbol + 16, true);
    const extent = clones.extent(this.#from.getUint32(symbol + 8, true), size);
    if (extent !== size) this.#to.setUint32(symbol + 16, extent, true);
  }

  writeHalf(offset: number, value: number): void {
    this.#to.setUint16(offset, value, true);
  }
}

function redirectSymbols(
  image: ElfImage,
  clones: PlacedClones,
  words: Words,
  section: number | undefined,
): number {
  let count = 0;
  eachDynamicSymbol(image, (symbol) => {
    if (!symbol.movesWithCode || !words.redirect(symbol.at + 8, clones)) return;
    words.resize(symbol.at, clones);
    if (section !== undefined && symbol.shndx !== spec.SHN_UNDEF) words.writeHalf(symbol.at + 6, section);
    count++;
  });
  return count;
}

function redirectRelocations(image: ElfImage, clones: PlacedClones, words: Words): number {
  let count = 0;
  // Two tables may share records; each counts once.
  const seen = new Set<number>();
  eachRela(image, (relocation) => {
    if (!redirectRela(relocation, clones, words) || seen.has(relocation.at)) return;
    seen.add(relocation.at);
    count++;
  });
  if (clones.canonical === 'original') return count;
  eachRelr(image, (place) => {
    if (words.redirectAt(place, clones)) count++;
  });
  return count;
}

function redirectRela(relocation: RelaRecord, clones: PlacedClones, words: Words): boolean {
  const { at, place, type, addend, symbol } = relocation;
  // Until a lazily bound function is called, its word leads back into the PLT.
  if (type === spec.R_X86_64_JUMP_SLOT) return words.redirectAt(place, clones);
  if (type === spec.R_X86_64_IRELATIVE) return words.redirect(at + 16, clones);
  if (clones.canonical === 'original') return false;
  if (type === spec.R_X86_64_RELATIVE || type === spec.R_X86_64_RELATIVE64) {
    return words.redirect(at + 16, clones);
  }
  // Counted from something that stays where it is; what counts from a symbol that moves has moved with it.
  if (symbol?.type !== spec.STT_SECTION || !pointsFromSymbol(relocation)) return false;
  const copy = clones.find(symbol.value + addend);
  if (copy < 0) return false;
  words.write(at + 16, copy - symbol.value);
  return true;
}

/** Functions that are called at start and end, as plain addresses. */
function redirectArrays(image: ElfImage, clones: PlacedClones, words: Words): void {
  for (const { start, end } of functionArrays(image)) {
    for (let place = start; place + 8 <= end; place += 8) words.redirectAt(place, clones);
  }
}

function redirectDynamic(image: ElfImage, clones: PlacedClones, words: Words): void {
  const segment = image.segments.find(({ type }) => type === spec.PT_DYNAMIC);
  if (segment === undefined) return;
  image.dynamic.entries.forEach(({ tag }, i) => {
    if (tag !== spec.DT_INIT && tag !== spec.DT_FINI) return;
    words.redirect(fileOffset(segment.offset + i * spec.DYN_SIZE) + 8, clones);
  });
}
