/**
 * Applies the relocations of a module that was slid, and leaves the others in its tables.
 *
 * Example: of 142 relocations of libz, 136 are written; the tables go on with 6, at their old places, and the sizes in
 * dynamic section and section headers say so.
 * Method: each table is written anew in its order, records that stay one behind the other. RELATIVE ones are those of
 * the table's beginning no more (DT_RELACOUNT 0). The packed table has nothing else, and becomes empty.
 * Hazards: JMPREL may hold JUMP_SLOT and its like alone, so records do not change tables. A PLT stub that is not bound
 * yet says which record of JMPREL is its own, and is told the new number (lazy-stubs.ts).
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { viewOf } from '../../elf/bytes.ts';
import type { ElfImage } from '../../elf/image.ts';
import type { Relocation, RelocationTable } from '../../elf/relocations.ts';
import * as spec from '../../elf/spec.ts';
import { Binder, type Binding } from '../closure/bindings.ts';
import type { ClosureModule } from '../closure/modules.ts';
import type { Scope } from '../closure/scope.ts';
import { renumberStub } from './lazy-stubs.ts';
import type { PlannedAddresses, PrelinkOptions, StayReason } from './model.ts';
import { addTo, wordInFile } from './slide.ts';
import { RELATIVE, whyItStays } from './stays.ts';

export interface Applied {
  readonly applied: number;
  readonly left: number;
  readonly leftPages: number;
  readonly reasons: ReadonlyMap<StayReason, number>;
  /** What the words of references were written to lead to, by their RVA. */
  readonly words: ReadonlyMap<number, bigint>;
}

interface Work {
  readonly module: ClosureModule;
  readonly image: ElfImage;
  readonly view: DataView;
  readonly base: number;
  readonly planned: PlannedAddresses;
  readonly binder: Binder;
  readonly mode: PrelinkOptions['relocations'];
  readonly reasons: Map<StayReason, number>;
  readonly pages: Set<number>;
  readonly words: Map<number, bigint>;
  applied: number;
  left: number;
}

/** @param bytes the copy, whose tables were slid by what `planned` says of the module. */
export function applyRelocations(
  module: ClosureModule,
  bytes: Uint8Array,
  {
    scope,
    planned,
    relocations,
  }: PrelinkOptions & { readonly scope: Scope; readonly planned: PlannedAddresses },
): Applied {
  const { image } = module;
  const work: Work = {
    module,
    image,
    view: viewOf(bytes),
    base: planned.get(module) ?? 0,
    planned,
    binder: new Binder(scope, module),
    mode: relocations,
    reasons: new Map(),
    pages: new Set(),
    words: new Map(),
    applied: 0,
    left: 0,
  };
  for (const table of image.dynamicRelocations) {
    const size = table.kind === 'relr' ? applyRelr(work, table) : applyRela(work, table);
    if (relocations !== 'kept') shorten(work, table, size);
  }
  slideKeptRecords(work);
  return {
    applied: work.applied,
    left: work.left,
    leftPages: work.pages.size,
    reasons: work.reasons,
    words: work.words,
  };
}

/** @returns bytes of the table that are left. */
function applyRela(work: Work, table: RelocationTable): number {
  const { image, view, base } = work;
  let to: number = table.offset;
  table.relocations.forEach((relocation, index) => {
    const from = table.offset + index * spec.RELA_SIZE;
    if (relocation.type === spec.R_X86_64_NONE && work.mode !== 'kept') return;
    if (applies(work, relocation)) return;
    // Records only move down, so those that are still to come are as they were.
    if (to !== from) {
      for (let word = 0; word < spec.RELA_SIZE; word += 8) {
        view.setBigUint64(to + word, view.getBigUint64(from + word, true), true);
      }
    }
    addTo(view, to, base);
    if (ADDRESS_ADDENDS.includes(relocation.type)) addTo(view, to + 16, base);
    if (table.name === 'DT_JMPREL' && to !== from)
      renumberStub(image, view, relocation, { from: index, to: (to - table.offset) / spec.RELA_SIZE });
    slideUnbound(work, relocation);
    to += spec.RELA_SIZE;
  });
  return to - table.offset;
}

/** Their addends are addresses in the module itself. */
const ADDRESS_ADDENDS: readonly number[] = [
  spec.R_X86_64_RELATIVE,
  spec.R_X86_64_RELATIVE64,
  spec.R_X86_64_IRELATIVE,
];

/** Whether the word was written and needs its relocation no more. */
function applies(work: Work, relocation: Relocation): boolean {
  const { module, image, view, base, planned, binder, mode } = work;
  const binding = binder.bind(relocation);
  const reason =
    mode === 'relative' && binding !== undefined
      ? 'bound at each start'
      : mode === 'references' && RELATIVE.includes(relocation.type)
        ? 'relocated at each start'
        : whyItStays(module, relocation, binding, planned);
  const at = wordInFile(image, relocation.rva);
  if (reason !== undefined || at === undefined) {
    const why = reason ?? 'the word is not in the file';
    work.reasons.set(why, (work.reasons.get(why) ?? 0) + 1);
  } else if (mode !== 'kept' || relocation.type !== spec.R_X86_64_JUMP_SLOT) {
    // A slot that is kept leads to its stub until it is bound.
    const value = binding === undefined ? BigInt(base) : targetOf(binding, planned);
    view.setBigUint64(at, BigInt.asUintN(64, value + relocation.addend), true);
    if (mode !== 'kept') {
      work.applied++;
      if (binding !== undefined) work.words.set(relocation.rva, value + relocation.addend);
      return true;
    }
  }
  work.left++;
  work.pages.add(Math.floor(relocation.rva / PAGE_SIZE));
  work.pages.add(Math.floor((relocation.rva + 7) / PAGE_SIZE));
  return false;
}

/** The address that a reference leads to; 0 for a weak one that nothing defines. */
function targetOf({ definition }: Binding, planned: PlannedAddresses): bigint {
  if (definition === undefined) return 0n;
  const { module, symbol } = definition;
  if (symbol.shndx === spec.SHN_ABS) return symbol.value;
  return BigInt(planned.get(module) ?? 0) + symbol.value;
}

/** Until it is bound, a slot of the PLT leads back to its stub. */
function slideUnbound({ image, view, base }: Work, { type, rva }: Relocation): void {
  if (type !== spec.R_X86_64_JUMP_SLOT) return;
  const at = wordInFile(image, rva);
  if (at !== undefined && view.getBigUint64(at, true) !== 0n) addTo(view, at, base);
}

function applyRelr(work: Work, { offset, size, relocations }: RelocationTable): number {
  const { image, view, base } = work;
  for (const { rva } of relocations) {
    const at = wordInFile(image, rva);
    if (at !== undefined) addTo(view, at, base);
  }
  if (work.mode !== 'kept' && work.mode !== 'references') {
    work.applied += relocations.length;
    return 0;
  }
  for (let at: number = offset; at < offset + size; at += spec.RELR_SIZE) {
    if ((view.getUint32(at, true) & 1) === 0) addTo(view, at, base);
  }
  work.left += relocations.length;
  for (const { rva } of relocations) work.pages.add(Math.floor(rva / PAGE_SIZE));
  return size;
}

const SIZES: Readonly<Record<string, number>> = {
  DT_RELA: spec.DT_RELASZ,
  DT_JMPREL: spec.DT_PLTRELSZ,
  DT_RELR: spec.DT_RELRSZ,
};

function shorten(
  { image, view, mode }: Work,
  { name, offset, size, kind }: RelocationTable,
  left: number,
): void {
  setDynamic(image, view, SIZES[name] ?? 0, left);
  // Those that are kept stand at the beginning as before.
  if (name === 'DT_RELA' && mode !== 'references') setDynamic(image, view, spec.DT_RELACOUNT, 0);
  const type = kind === 'relr' ? spec.SHT_RELR : spec.SHT_RELA;
  for (const section of image.sections) {
    const isPart = section.offset >= offset && section.offset < offset + size;
    if (section.type !== type || !isPart || (section.flags & spec.SHF_ALLOC) === 0) continue;
    const rest = Math.min(section.size, Math.max(0, offset + left - section.offset));
    view.setBigUint64(image.header.sectionsAt + section.index * spec.SHDR_SIZE + 32, BigInt(rest), true);
  }
}

/** Every entry of the tag: the loader takes the last one. */
function setDynamic(image: ElfImage, view: DataView, tag: number, value: number): void {
  const segment = image.segments.find(({ type }) => type === spec.PT_DYNAMIC);
  image.dynamic.entries.forEach((entry, index) => {
    if (entry.tag !== tag || segment === undefined) return;
    view.setBigUint64(segment.offset + index * spec.DYN_SIZE + 8, BigInt(value), true);
  });
}

/** Relocations that the linker was told to keep: nobody applies them, and tools read them by address. */
function slideKeptRecords({ image, view, base }: Work): void {
  for (const { type, flags, offset, size } of image.sections) {
    if (type !== spec.SHT_RELA || (flags & spec.SHF_ALLOC) !== 0) continue;
    for (let at: number = offset; at + spec.RELA_SIZE <= offset + size; at += spec.RELA_SIZE)
      addTo(view, at, base);
  }
}
