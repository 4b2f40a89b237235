/**
 * NAME.linked as data: a direct mirror of the structs of runtime/share.h. All addresses are final; `place.ts` makes it of
 * a `LinkedState`, `linked-encode.ts` writes it, `linked-decode.ts` reads it back, runtime/restore.c maps it.
 */
import type { Rva, UserAddress } from '../../base/brands.ts';
import type { FixUpKind, MachineTraits, Protection } from '../model.ts';

export interface PlacedImage {
  /** `_dl_start_user` of the dynamic loader. */
  readonly start: UserAddress;
  /** AT_ENTRY, AT_PHDR, AT_BASE. */
  readonly entry: UserAddress;
  readonly phdr: UserAddress;
  readonly base: UserAddress;
  readonly program: PlacedProgram;
  readonly threadPointer: UserAddress;
  readonly tidAt: UserAddress;
  readonly robust: { readonly at: UserAddress; readonly size: number } | undefined;
  readonly rseq: { readonly at: UserAddress; readonly size: number; readonly signature: number } | undefined;
  /** Where words that point into the vDSO have it, above all maps; undefined where `machine.vdso` is. */
  readonly vdsoAt: UserAddress | undefined;
  readonly machine: MachineTraits;
  /** LD_LIBRARY_PATH as it must be at a start; undefined: not set. */
  readonly libraryPath: string | undefined;
  /** What `readProcessor` says of the machine it was linked on. */
  readonly processor: ProcessorTraits;
  readonly files: readonly PlacedFile[];
  /** Whether maps may lie over another one, an area. */
  readonly isJoined: boolean;
  /**
   * Ascending by address, without overlap; but an area, which shows pages, is followed by the maps that lie over it: pages
   * of the area with another protection, or zeros.
   */
  readonly maps: readonly PlacedMap[];
  /** Ascending by address, each within one map. */
  readonly fixUps: readonly PlacedFixUp[];
  readonly watches: readonly PlacedWatch[];
  /** How far a start may slide all this; undefined: addresses are the same at each start. */
  readonly slide: PlacedSlide | undefined;
  /** What linking made, whole pages. Maps say by offsets from its start which of it they show. */
  readonly pages: Buffer;
}

export interface PlacedProgram {
  /** Load bias in the image; 0 for programs of fixed addresses. */
  readonly at: UserAddress;
  /** RVA of its program headers (e_phoff as it is mapped). */
  readonly phdr: Rva;
  /** Its lowest page, and from there to the end of its highest page, bytes. */
  readonly first: Rva;
  readonly size: number;
  /** Checksum of what the copy begins with (program-copy.ts). */
  readonly sum: bigint;
}

/** Each start adds one multiple of a unit to the program's addresses, and one to all others. */
export interface PlacedSlide {
  readonly program: SlideRange;
  readonly rest: SlideRange;
  /** Words of read-only pages may be written when the pages are touched. */
  readonly pagesIn: boolean;
  /** Ascending by address, and `program` before `rest`. */
  readonly pages: readonly SlidPage[];
}

export interface SlideRange {
  /** Bytes, whole pages. */
  readonly unit: number;
  /** How many addresses there are to choose from; 1: it does not slide. */
  readonly places: number;
}

export type SlidInto = 'program' | 'rest';

export interface SlidPage {
  readonly at: UserAddress;
  /** What the words below hold addresses of. */
  readonly into: SlidInto;
  /** 64 bytes: a bit for each word of the page. */
  readonly words: Buffer;
}

/** cpuid and xgetbv: what IFUNC resolvers and the loader chose by. 32 bits each. */
export interface ProcessorTraits {
  /** ebx without its highest byte, the number of the processor. */
  readonly leaf1: { readonly eax: number; readonly ebx: number; readonly ecx: number; readonly edx: number };
  readonly leaf7: { readonly ebx: number; readonly ecx: number; readonly edx: number };
  readonly xcr0: bigint;
}

/** How a path is recognised: what stat says. */
export interface PlacedFile {
  /** Absolute. */
  readonly path: string;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  /** `st_dev`, 32 bits: the loader knows its modules by device and inode, when one is opened by another name. */
  readonly device: number;
  /** Whether any map shows pages of it; if not, it is only checked. */
  readonly isMapped: boolean;
}

export type MapSource =
  /** `offset`: bytes from the start of the file `files[index]`. */
  | { readonly kind: 'file'; readonly index: number; readonly offset: number }
  /** `offset`: bytes from the start of `pages`. */
  | { readonly kind: 'pages'; readonly offset: number }
  | { readonly kind: 'zeros' }
  /** Moved from where the kernel mapped the program. */
  | { readonly kind: 'program'; readonly rva: Rva };

/** Address, size, offset and RVA are multiples of the page size. */
export interface PlacedMap {
  readonly at: UserAddress;
  readonly size: number;
  readonly source: MapSource;
  readonly protection: Protection;
}

/** `in-vdso`: the word points into the vDSO, with its first byte at `vdsoAt`. `slid-…`: a word that is none of `SlidPage`. */
export type PlacedFixUpKind = FixUpKind | 'in-vdso' | 'slid-program' | 'slid-rest';

export interface PlacedFixUp {
  readonly at: UserAddress;
  readonly size: 4 | 8;
  readonly kind: PlacedFixUpKind;
}

export type PlacedWatch =
  | { readonly kind: 'absent'; readonly path: string }
  | {
      readonly kind: 'unchanged';
      readonly path: string;
      /** Bytes; 0 for folders. */
      readonly size: number;
      readonly mtimeNs: bigint;
      readonly inode: bigint;
    };
