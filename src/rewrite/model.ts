/**
 * The contract of the room: what is known of a module's code, and what a rewriting makes of it.
 *
 * Problem: a process loads far more code than it runs, as used and unused functions share pages.
 * Example: `libfoo.so` with functions a, b, c, of which a recording saw b.
 * Method: every original byte stays at its address. Used units are copied, packed, to an appended
 * segment, and whatever led to them (branches, addresses, symbols, relocations, unwind tables) leads to
 * the copies. So what analysis has missed still runs the original: correct, for one page more.
 * Limits: modules with addresses above 4 GiB, and code that does not decode, are kept as they are.
 */
import type { Rva } from '../base/brands.ts';

/** Something that stays as it was, and why. Reasons are counted in reports: keep them few and stable. */
export interface Kept {
  readonly kind: 'kept';
  readonly reason: string;
  /** Where, if it is one place. */
  readonly at?: Rva;
}

/**
 * The smallest thing that moves: code that is copied whole, with its inner layout.
 *
 * `function`: one FDE of .eh_frame. `cluster`: neighbours that short branches join. `plt`: one stub of a
 * PLT (the first, with the resolver's call, is one too). `fragment`: code without an FDE that is proved to
 * be code: .init, .fini, crtstuff's, hand-written functions. `part`: what follows in a function that can be cut; its
 * first part is a `function`. Control comes into a part where an entry is, and perhaps not at its start.
 */
export interface Unit {
  readonly kind: 'function' | 'cluster' | 'plt' | 'fragment' | 'part';
  readonly start: Rva;
  /** Exclusive. */
  readonly end: Rva;
  /** Where control can come in from outside: the start, and targets of other units' branches. Ascending. */
  readonly entries: readonly Rva[];
  /** Control can run past the end: the copy needs a jump there. */
  readonly fallsThrough: boolean;
  /** Set where it must not move. */
  readonly kept?: string;
}

export const REFERENCE_BRANCH = 0;
/** A rip-relative operand (`lea`, `mov`, `cmp`, ...) whose address lies in a unit. */
export const REFERENCE_ADDRESS = 1;

/**
 * The 4-byte pc-relative fields whose target lies in a unit that is not the field's own. One row over all
 * arrays; ascending by field.
 */
export interface CodeReferences {
  /** RVA of the field. */
  readonly field: Uint32Array;
  /** RVA that it leads to. */
  readonly target: Uint32Array;
  /** Bytes from the field's start to the end of its instruction: where the processor counts from. */
  readonly tail: Uint8Array;
  /** REFERENCE_BRANCH, REFERENCE_ADDRESS */
  readonly kind: Uint8Array;
}

/** What a module's code is; depends on the file alone, so it is cached by its identity. */
export interface ModuleAnalysis {
  /** Ascending, not overlapping. */
  readonly units: readonly Unit[];
  readonly references: CodeReferences;
  /** The entries that tell a recorder which units were entered. Ascending. */
  readonly breakpoints: Uint32Array;
  /** What could not be made a unit: FUNC symbols in the middle of nowhere, ranges that do not decode. */
  readonly kept: readonly Kept[];
  /** Bytes of the segments that are executable. */
  readonly textBytes: number;
}

/** Where a recorder waits for units to be entered. */
export interface BreakpointPlaces {
  /** RVAs, ascending; each is the start of an instruction. */
  readonly at: Uint32Array;
  /** By place: 1 where it leads into the same part of a function as the one before: the first one met tells of both. */
  readonly follows: Uint8Array;
}

/**
 * Where code went. In a position-independent module an entry has one address, the copy's
 * (`canonical: 'copy'`). In ET_EXEC addresses of functions stand as plain numbers in code and data, where
 * nobody can tell them from others: addresses stay the originals', and only branches lead to the copies.
 */
export interface CloneMap {
  readonly canonical: 'copy' | 'original';
  /** Units in the order of their copies. */
  readonly clones: readonly Clone[];
  /** The copy of an original code address, inside any cloned unit; undefined where it is not cloned. */
  copyOf(at: Rva): Rva | undefined;
}

export interface Clone {
  readonly unit: Unit;
  /** Where the copy starts. Its bytes keep their distances. */
  readonly at: Rva;
  /** Bytes of the copy: the unit's, and five for the jump where it falls through. */
  readonly size: number;
}

export interface RewriteOptions {
  /** Starts of units to be cloned, in the order in which their copies should lie. */
  readonly hot: readonly Rva[];
  /**
   * `file`: originals stay executable, the kernel pages them when touched. `deny`: readable but not
   * executable.
   */
  readonly cold: 'file' | 'deny';
  /** Of a program at fixed addresses: unused pages that are to be mapped apart from used ones beside them. Ascending. */
  readonly apart?: readonly PageRun[];
}

/** Whole pages. */
export interface PageRun {
  readonly at: Rva;
  readonly size: number;
}

export interface RewriteFigures {
  /** 4 KiB pages of the executable segments before. */
  readonly textPages: number;
  /** 4 KiB pages of the segment with the copies. */
  readonly hotPages: number;
  /** Pages of what was added and is not code: headers, unwind tables, jump tables. */
  readonly addedReadOnlyPages: number;
  readonly units: number;
  readonly clonedUnits: number;
  readonly jumpTables: number;
  readonly clonedJumpTables: number;
  readonly patchedReferences: number;
  readonly patchedRelocations: number;
  readonly patchedSymbols: number;
}

export interface RewrittenModule {
  readonly kind: 'rewritten';
  readonly bytes: Uint8Array;
  readonly map: CloneMap;
  readonly figures: RewriteFigures;
  /** Units, tables and entries that were asked for and stayed, with the reason. */
  readonly kept: readonly Kept[];
}
