/** What the dynamic loader writes into a module at a start: relocations by kind, and the pages that they make private. */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { ElfImage } from '../../elf/image.ts';
import type { Relocation } from '../../elf/relocations.ts';
import * as spec from '../../elf/spec.ts';

export interface RelocationCounts {
  /** RELATIVE in RELA tables. */
  readonly relative: number;
  /** RELATIVE in the packed table. */
  readonly relr: number;
  readonly globDat: number;
  readonly jumpSlot: number;
  /** R_X86_64_64 */
  readonly word: number;
  readonly copy: number;
  readonly irelative: number;
  /** Thread-local storage: DTPMOD64, DTPOFF64, TPOFF64, TLSDESC. */
  readonly tls: number;
  readonly other: number;
}

export interface ModuleRelocations {
  readonly counts: RelocationCounts;
  /** 4 KiB pages that hold a relocated word, by address. */
  readonly pages: number;
}

type Kind = keyof RelocationCounts;

const KINDS = new Map<number, Kind>([
  [spec.R_X86_64_RELATIVE, 'relative'],
  [spec.R_X86_64_RELATIVE64, 'relative'],
  [spec.R_X86_64_GLOB_DAT, 'globDat'],
  [spec.R_X86_64_JUMP_SLOT, 'jumpSlot'],
  [spec.R_X86_64_64, 'word'],
  [spec.R_X86_64_COPY, 'copy'],
  [spec.R_X86_64_IRELATIVE, 'irelative'],
  [spec.R_X86_64_DTPMOD64, 'tls'],
  [spec.R_X86_64_DTPOFF64, 'tls'],
  [spec.R_X86_64_TPOFF64, 'tls'],
  [spec.R_X86_64_TLSDESC, 'tls'],
]);

export const NO_RELOCATIONS: RelocationCounts = {
  relative: 0,
  relr: 0,
  globDat: 0,
  jumpSlot: 0,
  word: 0,
  copy: 0,
  irelative: 0,
  tls: 0,
  other: 0,
};

export const kindOf = ({ type }: Relocation): Kind => KINDS.get(type) ?? 'other';

/** What relocations by symbol write, less the TLS ones: GLOB_DAT, JUMP_SLOT, 64. */
export const bySymbol = ({ globDat, jumpSlot, word }: RelocationCounts): number => globDat + jumpSlot + word;

export const allRelocations = (counts: RelocationCounts): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

export function addCounts(all: readonly RelocationCounts[]): RelocationCounts {
  const sum = { ...NO_RELOCATIONS };
  for (const counts of all) {
    for (const kind of kinds) sum[kind] += counts[kind];
  }
  return sum;
}

const kinds: readonly Kind[] = [
  'relative',
  'relr',
  'globDat',
  'jumpSlot',
  'word',
  'copy',
  'irelative',
  'tls',
  'other',
];

/** @throws WinnowError E_ELF_… for damaged tables. */
export function countRelocations({ dynamicRelocations }: ElfImage): ModuleRelocations {
  const counts = { ...NO_RELOCATIONS };
  const pages = new Set<number>();
  for (const { kind, relocations } of dynamicRelocations) {
    for (const relocation of relocations) {
      if (relocation.type === spec.R_X86_64_NONE) continue;
      counts[kind === 'relr' ? 'relr' : kindOf(relocation)]++;
      // A word may lie across two pages, in packed structures.
      pages.add(Math.floor(relocation.rva / PAGE_SIZE));
      pages.add(Math.floor((relocation.rva + 7) / PAGE_SIZE));
    }
  }
  return { counts, pages: pages.size };
}
