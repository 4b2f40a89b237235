/**
 * Share: a program starts from an image in which everything is mapped, linked and relocated.
 *
 * Problem. A dynamic program begins by finding, mapping and relocating its modules: 42 ms of inkscape's start, the same at
 * every start, and each process has its own copies of the pages that relocation wrote.
 *
 * Example. inkscape: 138 modules, 426,000 relocations, 1,463 relocated pages. Its image has these pages as they are
 * after relocation, for addresses that were chosen when it was built.
 *
 * Method. The dynamic loader is run several times up to where it would start the first constructor, each time under
 * other circumstances (snapshot/). What differs between the runs must have a cause with a name (snapshot/causes.ts): a
 * pointer to something that was placed elsewhere, the stack guard, the number of arguments. One word without a cause
 * refuses the image. What is left is a `LinkedState`: it can be placed at any address (place/place.ts), is written
 * as NAME.linked (linked/linked-encode.ts, runtime/share.h), and mapped at the start by runtime/restore.c, which a copy of the program
 * names as its interpreter (place/program-copy.ts). What could have led the loader elsewhere is checked at each start
 * (place/guards.ts); if anything is different, restore.c runs the plain loader.
 *
 * Limits. glibc on x86-64; programs whose loader's words can all be explained; addresses stay the same until the image
 * is built anew, or each process has relocated pages of its own (place/slide.ts).
 */
import type { FileIdentity } from '../profile/model.ts';

/**
 * What is placed by itself: the program, all that the loader mapped (one block), the loader, and the vDSO with its data.
 * Addresses rise in this order in every run and in every image: glibc keeps a table of modules sorted by address.
 */
export type Anchor = 'program' | 'arena' | 'loader' | 'vdso';

/** A byte of the image before it is placed. */
export interface Place {
  readonly anchor: Anchor;
  /** Bytes from the anchor's base (of the program and the loader: the RVA). */
  readonly offset: number;
}

export interface Protection {
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

/** Where clean pages come from; undefined (anonymous): zeros. */
export interface FileRange {
  /** Index into `LinkedState.files`. */
  readonly file: number;
  /** Bytes, a multiple of the page size. */
  readonly offset: number;
}

/**
 * Where clean pages come from at a start. `files`: from the modules, mapped one by one. `auto`: the same, but small libraries are
 * in the image (take.ts). `joined`: from copies in the image,
 * which one mapping shows (join.ts). `direct`: joined, and libraries call each other directly (direct-calls.ts).
 */
export type ShareVariant = 'auto' | 'files' | 'joined' | 'direct';

const VARIANTS: readonly string[] = ['auto', 'files', 'joined', 'direct'] satisfies ShareVariant[];
export const isVariant = (word: string): word is ShareVariant => VARIANTS.includes(word);

/** Whether all modules are copied into the image. */
export const isJoined = (variant: ShareVariant): boolean => variant === 'joined' || variant === 'direct';

/** A mapping as the loader left it. */
export interface LinkedMapping {
  readonly place: Place;
  /** Bytes, a multiple of the page size. */
  readonly size: number;
  readonly protection: Protection;
  readonly source: FileRange | undefined;
  /** Pages that are no longer those of the source, ascending. */
  readonly dirty: readonly DirtyPage[];
}

export interface DirtyPage {
  /** Bytes from the start of the mapping. */
  readonly offset: number;
  /** 4096 bytes. Words that `LinkedState.pointers` names hold the offset from the anchor's base. */
  readonly bytes: Buffer;
}

/** Words of 8 bytes that hold the address of a `Place`. In ascending order of where they stand, one table for each anchor they stand in. */
export interface Pointers {
  readonly standsIn: Anchor;
  /** Offsets from the base of `standsIn`; any alignment. */
  readonly at: Float64Array;
  /** Index into `ANCHORS` for each of them: what it points into. */
  readonly into: Uint8Array;
}
export const ANCHORS: readonly Anchor[] = ['program', 'arena', 'loader', 'vdso'];

/** Words that every start writes anew; the names of LINKED_… in runtime/share.h. */
export type FixUpKind =
  | 'stack-guard'
  | 'pointer-guard'
  | 'argc'
  | 'argv'
  | 'envp'
  | 'auxv'
  | 'random'
  | 'platform'
  | 'execfn'
  | 'stack-start'
  | 'break'
  | 'tid'
  | 'cpu-number'
  /** The soft RLIMIT_STACK, rounded up to pages. */
  | 'thread-stack';

export interface FixUp {
  readonly at: Place;
  readonly size: 4 | 8;
  readonly kind: FixUpKind;
  /** What is known of the word, for people: `_dl_argc in ld-linux-x86-64.so.2`. */
  readonly name: string;
}

/** A word that differed between runs and may keep the value it has: a time, a cached figure. */
export interface Leftover {
  readonly at: Place;
  readonly size: 4 | 8;
  /** Name of the cause, of the catalogue in causes.ts. */
  readonly cause: string;
}

export interface LinkedFile {
  /** Absolute, links resolved. */
  readonly path: string;
  readonly identity: FileIdentity;
  readonly role: 'program' | 'loader' | 'library';
  /** The name by which the loader knows it (l_name). */
  readonly name: string;
}

/** A path that the loader looked at before it had all modules. */
export interface LoaderLookup {
  readonly path: string;
  readonly found: boolean;
}

export interface MachineTraits {
  readonly hwcap: bigint;
  readonly hwcap2: bigint;
  readonly minsigstksz: bigint;
  /** Soft RLIMIT_STACK, bytes; 2^64 - 1: unlimited. */
  readonly stackLimit: bigint;
  readonly clockTick: number;
  readonly pageSize: number;
  readonly vdso: { readonly lead: number; readonly size: number; readonly checksum: bigint } | undefined;
}

/** A program after linking, not yet placed. */
export interface LinkedState {
  readonly program: string;
  readonly files: readonly LinkedFile[];
  /** Bytes that each anchor needs from its base on (lowest page to highest), and its alignment. */
  readonly extents: Readonly<Record<Exclude<Anchor, 'vdso'>, AnchorExtent>>;
  /** Ascending within each anchor. Not among them: the stack, the vDSO, the heap. */
  readonly mappings: readonly LinkedMapping[];
  readonly pointers: readonly Pointers[];
  readonly fixUps: readonly FixUp[];
  readonly leftovers: readonly Leftover[];
  /** `_dl_start_user`, AT_ENTRY, AT_PHDR. */
  readonly start: Place;
  readonly entry: Place;
  readonly phdr: Place;
  readonly threadPointer: Place;
  readonly tidAt: Place;
  readonly robust: { readonly at: Place; readonly size: number } | undefined;
  readonly rseq: { readonly at: Place; readonly size: number; readonly signature: number } | undefined;
  readonly machine: MachineTraits;
  /** LD_LIBRARY_PATH that it was linked under; undefined: not set. */
  readonly libraryPath: string | undefined;
  readonly lookups: readonly LoaderLookup[];
}

export interface AnchorExtent {
  /** Lowest page, as an offset from the base (0 but for programs linked to fixed addresses). */
  readonly first: number;
  readonly size: number;
  /** The largest p_align of its modules; its offset modulo this must stay. */
  readonly align: number;
  /** Where it must be (ET_EXEC); undefined: anywhere. */
  readonly fixedAt: number | undefined;
}

/** Why a program gets no image: a result, not an error. */
export interface NotLinked {
  readonly kind: 'kept';
  /** Counted by it; `a word without a cause`, `not dynamically linked`, `musl`. */
  readonly reason: string;
  /** The word, module and nearest symbol, or what else a person needs. */
  readonly detail?: string;
}
