/** What the select technique wants to do: pure data, and why it does not do the rest. */
import type { PageIndex, Rva } from '../base/brands.ts';
import type { Extent, FileIdentity } from '../profile/model.ts';
import type { RewriteFigures } from '../rewrite/model.ts';

/**
 * `file`: unused code stays where it is and is paged when touched. `deny`: it cannot be executed. `store`: it
 * stands compressed in a file of its own and is brought when it is executed.
 */
export type Cold = 'file' | 'deny' | 'store';

/** What happens where denied code is come to: the program ends with a report, or it is noted and let through. */
export type OnMiss = 'abort' | 'log';

/** What became of the unused code of a module that it was cut out of. */
export interface StoredCode {
  /** Size of the file with the compressed code. */
  readonly storeBytes: number;
  /** Bytes of the rewritten file that are zeros now. */
  readonly cutBytes: number;
  /** Size of the rewritten file on disk, without its holes. */
  readonly diskBytes: number;
}

/** What the recordings saw of one module's code. */
export interface ModuleUse {
  /** Absolute path, as the program sees it, links resolved. */
  readonly path: string;
  /** As the newest run saw it. */
  readonly identity: FileIdentity;
  /** Addresses at which code was entered, in the order of first use. */
  readonly entered: readonly Rva[];
  /** 4 KiB pages of the file that the recordings saw touched through mappings; ascending. */
  readonly touched: readonly Extent[];
}

/** Something inside a module that stayed, counted by reason. */
export interface StayedCount {
  readonly reason: string;
  readonly count: number;
}

/** What a module's code looks like next to what the recordings used of it. */
export interface CodeUse {
  /** 4 KiB pages of the executable segments. */
  readonly textPages: number;
  /** Of these, pages that the recordings saw touched. */
  readonly touchedPages: number;
  /** Pages that used code lies on, in the original layout. */
  readonly usedPages: number;
  /** Functions and other pieces of code, PLT stubs aside; and how many of them are used. */
  readonly functions: number;
  readonly usedFunctions: number;
}

/** A module stays as it is. Reasons are counted in reports. */
export interface KeptModule {
  readonly path: string;
  readonly reason: string;
  /** 4 KiB pages of its executable segments; 0 where it is not there or no ELF file. */
  readonly textPages: number;
  /** Where its code is known. */
  readonly code?: CodeUse;
}

/** A module to be rewritten. */
export interface PlannedModule extends CodeUse {
  readonly path: string;
  /** The file as it is now; the launcher shows no copy of one that has become another. */
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  /** Starts of units, in the order of their copies. */
  readonly hot: readonly Rva[];
  /** What was entered and cannot be copied. */
  readonly stayed: readonly StayedCount[];
}

/** A rewritten module: the file, and what became of the plan. */
export interface BuiltModule extends PlannedModule {
  /** Name of the file in the folder that was built into. */
  readonly file: string;
  /** Of the rewritten file; without it (figures only) time and inode are 0. */
  readonly fileSize: number;
  readonly fileMtimeNs: bigint;
  readonly fileInode: bigint;
  /** It asks for other files by its own folder. */
  readonly usesOrigin: boolean;
  readonly figures: RewriteFigures;
  /** 4 KiB pages of the original that used code lies on which was not copied. */
  readonly stayedPages: number;
  readonly pages: RewrittenPages;
  readonly stored?: StoredCode;
}

/** Pages of a rewritten file, for whoever fetches them: `page` counts from the start of the file. */
export interface RewrittenPages {
  /** Pages of the original that need not be fetched any more: its code. */
  readonly dropped: readonly Extent[];
  /** Pages that a start needs: copies, and what was added with them. */
  readonly added: readonly Extent[];
  /** The page with the program headers: exec reads it behind the first one. */
  readonly headers: PageIndex;
}

export interface BuiltSelect {
  readonly cold: Cold;
  /** Of denied code; absent: abort. */
  readonly onMiss?: OnMiss;
  readonly modules: readonly BuiltModule[];
  readonly kept: readonly KeptModule[];
}
