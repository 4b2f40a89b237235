/**
 * What debuggers and profilers read and programs do not: section headers, their names, the symbol table.
 *
 * Problem: gdb, perf and addr2line name code by .symtab and find unwind tables by section headers; copies that
 * neither tells of are `??`.
 * Example: `f` at 0x1130 was copied to 0x7040: .symtab then has f twice. `break f` stops in both, and a
 * backtrace names either.
 * Method: old sections keep their indexes; the headers of what has moved lead to the new places; new ones stand
 * at the end. Of each name of copied code there is a second symbol of the same kind. A file without .symtab
 * gets one, with what .dynsym has, as debuggers look at .dynsym no more then; its names stay where they are.
 * Limits: files without section headers stay so. Line numbers and variables are known of the originals only.
 */
import { type FileOffset, fileOffset, type Rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import type { Section } from '../elf/sections.ts';
import * as spec from '../elf/spec.ts';
import { alignUp, type PlacedClones } from './lay-out.ts';
import { cloneSymbols, dynamicSymbols, type SymbolTable } from './rebuild-symbols.ts';

/** Bytes that are loaded and have a section. */
export interface AddedPart {
  readonly name: string;
  readonly at: Rva;
  readonly offset: FileOffset;
  readonly size: number;
  readonly flags: number;
  readonly align: number;
}

export interface SectionsInput {
  readonly image: ElfImage;
  readonly clones: PlacedClones;
  /** The file's end up to here: what stands behind the segments begins at `at`. */
  readonly at: FileOffset;
  /** New sections in their order. The one with the copies is the first. */
  readonly added: readonly AddedPart[];
  /** Old sections that have moved, by name. */
  readonly moved: readonly AddedPart[];
  /** The record for `restoreModule`, to stand at the end of the file. */
  readonly undo: Uint8Array;
}

export interface RebuiltSections {
  /** What stands behind the segments, the record included. */
  readonly bytes: Uint8Array;
  /** 0 where there are no section headers. */
  readonly headersAt: FileOffset;
  readonly count: number;
}

const UNDO_SECTION = '.winnow.undo';
const TABLE_ALIGN = 8;

/** Whether the file has sections with names: others get none. */
export const hasSections = ({ header, sections }: ElfImage): boolean =>
  header.namesSection !== 0 && sections.length > 0 && sections.length + 8 < spec.SHN_LORESERVE;

export function rebuildSections(input: SectionsInput): RebuiltSections {
  const { image, at, added, moved, undo, clones } = input;
  if (!hasSections(image)) return { bytes: undo, headersAt: fileOffset(0), count: 0 };
  const names = new Names(image);
  const headers = new Headers(image);
  const parts = new Parts(at);

  for (const part of moved) {
    const section = image.sections.find(({ name }) => name === part.name);
    if (section !== undefined) headers.move(section.index, part);
  }
  const firstAdded = headers.count;
  for (const part of added) headers.add({ ...part, nameAt: names.add(part.name), type: spec.SHT_PROGBITS });

  const table = symbolTable(image, clones, moved, firstAdded);
  if (table !== undefined) {
    const place = parts.add(table.bytes, TABLE_ALIGN);
    const place64 = { at: undefined, offset: place, size: table.bytes.length };
    if (table.index !== undefined) {
      headers.move(table.index, place64);
      headers.setInfo(table.index, table.firstGlobal);
    } else {
      headers.add({
        ...place64,
        nameAt: names.add('.symtab'),
        type: spec.SHT_SYMTAB,
        flags: 0,
        align: TABLE_ALIGN,
        link: table.link,
        info: table.firstGlobal,
        entrySize: spec.SYM_SIZE,
      });
    }
  }
  const undoHeader = headers.add({
    nameAt: names.add(UNDO_SECTION),
    type: spec.SHT_PROGBITS,
    flags: 0,
    offset: fileOffset(0),
    size: undo.length,
    align: 1,
  });
  const nameBytes = names.bytes();
  headers.move(image.header.namesSection, {
    at: undefined,
    offset: parts.add(nameBytes, 1),
    size: nameBytes.length,
  });
  const headersAt = parts.reserve(headers.size, TABLE_ALIGN);
  headers.move(undoHeader, { at: undefined, offset: parts.end, size: undo.length });
  parts.set(headersAt, headers.bytes());
  parts.add(undo, 1);
  return { bytes: parts.bytes(), headersAt, count: headers.count };
}

interface RebuiltTable extends SymbolTable {
  /** The section it replaces; undefined: a new one. */
  readonly index: number | undefined;
  /** The section with the names. */
  readonly link: number;
}

function symbolTable(
  image: ElfImage,
  clones: PlacedClones,
  moved: readonly AddedPart[],
  section: number,
): RebuiltTable | undefined {
  const { sections, bytes } = image;
  const old = sections.find(({ type }) => type === spec.SHT_SYMTAB);
  const source = old ?? sections.find(({ type }) => type === spec.SHT_DYNSYM);
  // Symbols in sections of numbers above 65279, and relocations that were kept, count in the old table. Those
  // that are loaded name this table in programs linked statically only, and no symbol of it.
  const isCounted = sections.some(
    ({ type, link, flags }) =>
      (type === spec.SHT_SYMTAB_SHNDX || type === spec.SHT_RELA || type === spec.SHT_GROUP) &&
      (flags & spec.SHF_ALLOC) === 0 &&
      link === old?.index,
  );
  if (source === undefined || (old !== undefined && isCounted)) return undefined;
  const records = bytes.subarray(source.offset, source.offset + source.size);
  const table = old === undefined ? dynamicSymbols(records) : { bytes: records, firstGlobal: source.info };
  const movedSections = new Map(
    moved.flatMap((part) =>
      sections
        .filter(({ name }) => name === part.name)
        .map(
          ({ index, rva, size }) =>
            [index, { from: rva, oldSize: size, to: part.at, size: part.size }] as const,
        ),
    ),
  );
  const withClones = cloneSymbols(table, clones, section, movedSections);
  return { ...withClones, index: old?.index, link: source.link };
}

interface NewHeader {
  readonly nameAt: number;
  readonly type: number;
  readonly flags: number;
  readonly at?: Rva | undefined;
  readonly offset: FileOffset;
  readonly size: number;
  readonly align: number;
  readonly link?: number;
  readonly info?: number;
  readonly entrySize?: number;
}

/** The table of section headers as bytes: the old ones, changed in parts, and new ones. */
class Headers {
  readonly #old: Uint8Array;
  readonly #added: Uint8Array[] = [];
  readonly #oldCount: number;

  constructor({ header, bytes }: ElfImage) {
    this.#oldCount = header.sectionCount;
    this.#old = Uint8Array.prototype.slice.call(
      bytes,
      header.sectionsAt,
      header.sectionsAt + header.sectionCount * spec.SHDR_SIZE,
    );
  }

  get count(): number {
    return this.#oldCount + this.#added.length;
  }

  get size(): number {
    return this.count * spec.SHDR_SIZE;
  }

  add(header: NewHeader): number {
    const bytes = new Uint8Array(spec.SHDR_SIZE);
    const view = viewOf(bytes);
    view.setUint32(0, header.nameAt, true);
    view.setUint32(4, header.type, true);
    view.setBigUint64(8, BigInt(header.flags), true);
    view.setUint32(40, header.link ?? 0, true);
    view.setUint32(44, header.info ?? 0, true);
    view.setBigUint64(48, BigInt(header.align), true);
    view.setBigUint64(56, BigInt(header.entrySize ?? 0), true);
    this.#added.push(bytes);
    const index = this.count - 1;
    this.move(index, { at: header.at, offset: header.offset, size: header.size });
    return index;
  }

  /** @param place `at` undefined: the address stays. */
  move(index: number, place: { at: Rva | undefined; offset: FileOffset; size: number }): void {
    const view = this.#view(index);
    if (place.at !== undefined) view.setBigUint64(16, BigInt(place.at), true);
    view.setBigUint64(24, BigInt(place.offset), true);
    view.setBigUint64(32, BigInt(place.size), true);
  }

  setInfo(index: number, info: number): void {
    this.#view(index).setUint32(44, info, true);
  }

  bytes(): Uint8Array {
    return Buffer.concat([this.#old, ...this.#added]);
  }

  #view(index: number): DataView {
    const added = this.#added[index - this.#oldCount];
    if (added !== undefined) return viewOf(added);
    return viewOf(this.#old.subarray(index * spec.SHDR_SIZE, (index + 1) * spec.SHDR_SIZE));
  }
}

/** The names of sections, longer by those of the new ones. */
class Names {
  readonly #old: Uint8Array;
  #added = '';

  constructor({ sections, header, bytes }: ElfImage) {
    const section: Section | undefined = sections[header.namesSection];
    this.#old =
      section === undefined
        ? new Uint8Array(1)
        : bytes.subarray(section.offset, section.offset + section.size);
  }

  add(name: string): number {
    const at = this.#old.length + this.#added.length;
    this.#added += `${name}\0`;
    return at;
  }

  bytes(): Uint8Array {
    return Buffer.concat([this.#old, Buffer.from(this.#added, 'latin1')]);
  }
}

/** What is appended to the file, piece by piece. */
class Parts {
  readonly #start: number;
  readonly #parts: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  #end: number;

  constructor(start: FileOffset) {
    this.#start = start;
    this.#end = start;
  }

  get end(): FileOffset {
    return fileOffset(this.#end);
  }

  reserve(size: number, align: number): FileOffset {
    const offset = fileOffset(alignUp(this.#end, align));
    this.#end = offset + size;
    return offset;
  }

  set(offset: FileOffset, bytes: Uint8Array): void {
    this.#parts.push({ offset, bytes });
  }

  add(bytes: Uint8Array, align: number): FileOffset {
    const offset = this.reserve(bytes.length, align);
    this.set(offset, bytes);
    return offset;
  }

  bytes(): Uint8Array {
    const all = Buffer.alloc(this.#end - this.#start);
    for (const { offset, bytes } of this.#parts) all.set(bytes, offset - this.#start);
    return all;
  }
}
