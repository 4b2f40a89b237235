/** The static symbol table with the copies' symbols, record by record. */
import type { Rva } from '../base/brands.ts';
import { safeU64, viewOf } from '../elf/bytes.ts';
import * as spec from '../elf/spec.ts';
import type { PlacedClones } from './lay-out.ts';

export interface SymbolTable {
  readonly bytes: Uint8Array;
  /** `sh_info`: index of the first symbol that is not local. */
  readonly firstGlobal: number;
}

export interface MovedSection {
  readonly from: Rva;
  readonly oldSize: number;
  readonly to: Rva;
  readonly size: number;
}

/** A static table from the dynamic one: without undefined symbols. */
export function dynamicSymbols(dynamic: Uint8Array): SymbolTable {
  const view = viewOf(dynamic);
  const records = [dynamic.subarray(0, spec.SYM_SIZE)];
  let locals = 1;
  for (const wanted of [true, false]) {
    for (let at = spec.SYM_SIZE; at + spec.SYM_SIZE <= dynamic.length; at += spec.SYM_SIZE) {
      const isLocal = view.getUint8(at + 4) >>> 4 === spec.STB_LOCAL;
      if (isLocal !== wanted || view.getUint16(at + 6, true) === spec.SHN_UNDEF) continue;
      if (isLocal) locals++;
      records.push(dynamic.subarray(at, at + spec.SYM_SIZE));
    }
  }
  return { bytes: Buffer.concat(records), firstGlobal: locals };
}

/**
 * The table with a second symbol for each that names copied code, at the end of the local ones or of all.
 *
 * @param section index of the section with the copies.
 * @param moved sections that stand elsewhere now, by index: their symbols go with them.
 */
export function cloneSymbols(
  table: SymbolTable,
  clones: PlacedClones,
  section: number,
  moved: ReadonlyMap<number, MovedSection>,
): SymbolTable {
  const count = Math.floor(table.bytes.length / spec.SYM_SIZE);
  const view = viewOf(table.bytes);
  const locals: SymbolOfCopy[] = [];
  const others: SymbolOfCopy[] = [];
  for (let index = 1; index < count; index++) {
    const { first, parts } = symbolsOfCopies(view, index, clones);
    if (first !== undefined) (index < table.firstGlobal ? locals : others).push(first);
    locals.push(...parts);
  }
  // Local symbols belong to the file symbol before them; one without a name stands for none.
  const fileSymbol = locals.length > 0 ? 1 : 0;
  const firstGlobal = table.firstGlobal + fileSymbol + locals.length;
  const bytes = new Uint8Array((count + fileSymbol + locals.length + others.length) * spec.SYM_SIZE);
  const split = table.firstGlobal * spec.SYM_SIZE;
  bytes.set(table.bytes.subarray(0, split), 0);
  bytes.set(table.bytes.subarray(split, count * spec.SYM_SIZE), firstGlobal * spec.SYM_SIZE);
  const to = viewOf(bytes);
  if (fileSymbol > 0) {
    to.setUint8(split + 4, (spec.STB_LOCAL << 4) | spec.STT_FILE);
    to.setUint16(split + 6, spec.SHN_ABS, true);
  }
  const put = ({ from, isPart, value, size }: SymbolOfCopy, index: number): void => {
    const at = index * spec.SYM_SIZE;
    bytes.set(table.bytes.subarray(from * spec.SYM_SIZE, (from + 1) * spec.SYM_SIZE), at);
    if (isPart) to.setUint8(at + 4, (spec.STB_LOCAL << 4) | spec.STT_FUNC);
    to.setUint16(at + 6, section, true);
    to.setBigUint64(at + 8, BigInt(value), true);
    to.setBigUint64(at + 16, BigInt(size), true);
  };
  locals.forEach((from, i) => {
    put(from, table.firstGlobal + fileSymbol + i);
  });
  others.forEach((from, i) => {
    put(from, count + fileSymbol + locals.length + i);
  });
  if (moved.size > 0) moveSymbols(to, moved);
  return { bytes, firstGlobal };
}

interface SymbolsOfCopies {
  /** For the original's own address, if that was copied. */
  readonly first: SymbolOfCopy | undefined;
  readonly parts: readonly SymbolOfCopy[];
}

interface SymbolOfCopy {
  /** Index of the original's. */
  readonly from: number;
  /** A function's name stands for each part of it that was copied. */
  readonly isPart: boolean;
  readonly value: number;
  readonly size: number;
}

function symbolsOfCopies(view: DataView, index: number, clones: PlacedClones): SymbolsOfCopies {
  const value = codeAddress(view, index);
  if (value === undefined) return { first: undefined, parts: [] };
  const size = safeU64(view, index * spec.SYM_SIZE + 16) ?? 0;
  const copy = clones.find(value);
  const first = { from: index, isPart: false, value: copy, size: clones.clipped(value, size) };
  const parts = clones.partsWithin(value, value + size).map(({ unit, at }) => ({
    from: index,
    isPart: true,
    value: at,
    size: clones.clipped(unit.start, value + size - unit.start),
  }));
  return { first: copy < 0 ? undefined : first, parts };
}

/** Undefined: the symbol names no code. */
function codeAddress(view: DataView, index: number): number | undefined {
  const at = index * spec.SYM_SIZE;
  const type = view.getUint8(at + 4) & 15;
  if (type !== spec.STT_FUNC && type !== spec.STT_GNU_IFUNC && type !== spec.STT_NOTYPE) return undefined;
  const shndx = view.getUint16(at + 6, true);
  if (shndx === spec.SHN_UNDEF || shndx >= spec.SHN_LORESERVE || view.getUint32(at, true) === 0)
    return undefined;
  return safeU64(view, at + 8);
}

/** Symbols of a table that was rebuilt mark its start or count from its end. */
function moveSymbols(table: DataView, moved: ReadonlyMap<number, MovedSection>): void {
  for (let at = spec.SYM_SIZE; at < table.byteLength; at += spec.SYM_SIZE) {
    const section = moved.get(table.getUint16(at + 6, true));
    const value = safeU64(table, at + 8);
    if (section === undefined || value === undefined) continue;
    const { from, oldSize, to, size } = section;
    const place = value === from ? to : to + size - (from + oldSize - value);
    table.setBigUint64(at + 8, BigInt(place), true);
  }
}
