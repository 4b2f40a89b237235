/**
 * Slides a module: the same file, for addresses that are higher by `base`.
 *
 * Problem: addresses stand in many tables, and what is missed makes a file that is wrong in one place.
 * Example: slid by 0x10000000, `deflate` of libz at 0x4a10 has st_value 0x10004a10, in .dynsym and in .symtab.
 * Method: program headers, section headers of what is loaded, symbols that are defined in sections, the dynamic
 * section by kind of tag, relocations by type, the first word of the table for the PLT. Code and unwind tables reach everything by
 * distance; words with addresses have a relocation each, and are left to it (apply.ts).
 * Limits: debugging sections hold addresses too: with them a module stays. A tag of the dynamic section that is not known
 * could hold one: the module stays.
 */
import type { Rva } from '../../base/brands.ts';
import { viewOf } from '../../elf/bytes.ts';
import type { ElfImage } from '../../elf/image.ts';
import { dynamicTagName } from '../../elf/names.ts';
import * as spec from '../../elf/spec.ts';
import { tagHolds } from './dynamic-tags.ts';
import { stubsAreKnown } from './lazy-stubs.ts';

/** Why a module cannot be slid; undefined where it can. */
export function whyNotSlid(image: ElfImage): string | undefined {
  if (image.header.type !== spec.ET_DYN) return 'linked to fixed addresses';
  if (image.sections.some(({ name }) => /^\.z?debug_info$/.test(name)))
    return 'carries debugging information';
  if (!image.segments.some(({ type }) => type === spec.PT_DYNAMIC)) return 'has no dynamic section';
  for (const { tag, value } of image.dynamic.entries) {
    const holds = tagHolds(tag);
    if (holds === undefined) return `an unknown entry of the dynamic section (${dynamicTagName(tag)})`;
    if (holds === 'address' && value !== 0 && !isLoaded(image, value))
      return `an entry of the dynamic section leads nowhere (${dynamicTagName(tag)})`;
  }
  if (!stubsAreKnown(image)) return 'stubs of its PLT do not say their numbers';
  return undefined;
}

/** An address may stand right behind a segment: of an empty table. */
const isLoaded = ({ segments }: ElfImage, address: number): boolean =>
  segments.some(
    ({ type, rva, memSize }) => type === spec.PT_LOAD && address >= rva && address <= rva + memSize,
  );

/** All but the relocations and what they write. @param base a multiple of the module's alignment. */
export function slideTables(image: ElfImage, bytes: Uint8Array, base: number): void {
  const view = viewOf(bytes);
  const slide = (at: number): void => addTo(view, at, base);
  if (image.header.entry !== 0) slide(24);
  slideSegments(image, slide);
  slideSections(image, slide);
  slideSymbols(image, view, slide);
  slideDynamic(image, slide);
  slideFirstGotWord(image, view, slide);
}

/** Adds to a word of 64 bits. */
export const addTo = (view: DataView, at: number, base: number): void =>
  view.setBigUint64(at, BigInt.asUintN(64, view.getBigUint64(at, true) + BigInt(base)), true);

type Slide = (at: number) => void;

function slideSegments({ header, segments }: ElfImage, slide: Slide): void {
  for (const { index, type, rva, memSize } of segments) {
    // PT_GNU_STACK says how, not where.
    if (type === spec.PT_NULL || type === spec.PT_GNU_STACK || (rva === 0 && memSize === 0)) continue;
    const at = header.segmentsAt + index * spec.PHDR_SIZE;
    slide(at + 16);
    slide(at + 24);
  }
}

function slideSections({ header, sections }: ElfImage, slide: Slide): void {
  for (const { index, flags } of sections) {
    if ((flags & spec.SHF_ALLOC) !== 0) slide(header.sectionsAt + index * spec.SHDR_SIZE + 16);
  }
}

function slideSymbols(image: ElfImage, view: DataView, slide: Slide): void {
  const { dynamic, sections, symbols } = image;
  const notLoaded = new Set(
    sections.filter(({ flags }) => (flags & spec.SHF_ALLOC) === 0).map(({ index }) => index),
  );
  const slideTable = (table: number, count: number): void =>
    slideSymbolTable(view, { table, count, notLoaded }, slide);
  if (symbols.length > 0) slideTable(dynamic.offsetOf(spec.DT_SYMTAB), symbols.length);
  for (const { type, offset, size } of sections) {
    if (type === spec.SHT_SYMTAB) slideTable(offset, Math.floor(size / spec.SYM_SIZE));
  }
}

interface SymbolTable {
  /** Offset in the file. */
  readonly table: number;
  readonly count: number;
  /** Sections that have no addresses. */
  readonly notLoaded: ReadonlySet<number>;
}

function slideSymbolTable(view: DataView, { table, count, notLoaded }: SymbolTable, slide: Slide): void {
  for (let index = 1; index < count; index++) {
    const at = table + index * spec.SYM_SIZE;
    const type = view.getUint8(at + 4) & 15;
    const shndx = view.getUint16(at + 6, true);
    const isAddress =
      shndx === spec.SHN_UNDEF
        ? view.getBigUint64(at + 8, true) !== 0n
        : shndx === spec.SHN_XINDEX || (shndx < spec.SHN_LORESERVE && !notLoaded.has(shndx));
    // Thread-local symbols count from the start of their block.
    if (isAddress && type !== spec.STT_TLS) slide(at + 8);
  }
}

function slideDynamic(image: ElfImage, slide: Slide): void {
  const segment = image.segments.find(({ type }) => type === spec.PT_DYNAMIC);
  if (segment === undefined) return;
  image.dynamic.entries.forEach(({ tag, value }, index) => {
    if (tagHolds(tag) === 'address' && value !== 0) slide(segment.offset + index * spec.DYN_SIZE + 8);
  });
}

/** It holds the address of the dynamic section and has no relocation. */
function slideFirstGotWord(image: ElfImage, view: DataView, slide: Slide): void {
  const { dynamic, segments } = image;
  const segment = segments.find(({ type }) => type === spec.PT_DYNAMIC);
  if (segment === undefined || dynamic.value(spec.DT_PLTGOT) === undefined) return;
  const at = offsetOrNothing(image, dynamic.value(spec.DT_PLTGOT));
  if (at !== undefined && view.getBigUint64(at, true) === BigInt(segment.rva)) slide(at);
}

function offsetOrNothing(image: ElfImage, address: number | undefined): number | undefined {
  const found = image.segments.find(
    ({ type, rva, fileSize }) =>
      type === spec.PT_LOAD && address !== undefined && address >= rva && address + 8 <= rva + fileSize,
  );
  return found === undefined || address === undefined ? undefined : found.offset + (address - found.rva);
}

/** Where a word of 8 bytes stands in the file; undefined where a part of it does not. */
export function wordInFile(image: ElfImage, at: Rva): number | undefined {
  return offsetOrNothing(image, at);
}
