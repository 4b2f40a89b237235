/** What the share technique wants to do and has done: data. */
import type { PageIn } from './place/page-in.ts';

/** A program of the recorded tree that may get an image. */
export interface ProgramToShare {
  /** Absolute, links resolved. */
  readonly path: string;
  /** LD_LIBRARY_PATH that most of its processes in the newest run with it were executed with; absent: not set. */
  readonly libraryPath?: string;
}

/** A program starts as ever. Reasons are counted in reports. */
export interface KeptProgram {
  readonly path: string;
  readonly reason: string;
  /** The word, module or path that it is about. */
  readonly detail?: string;
}

export interface PlannedShare {
  readonly programs: readonly ProgramToShare[];
  readonly kept: readonly KeptProgram[];
}

export interface Counted {
  readonly name: string;
  readonly count: number;
}

export interface ShareFigures {
  readonly modules: number;
  /** Mappings that a start makes, and those that the loader would make. */
  readonly maps: number;
  readonly loaderMaps: number;
  /** 4 KiB pages in the image; of them, pages that linking wrote. */
  readonly pages: number;
  readonly linkedPages: number;
  /** Words that hold addresses. */
  readonly pointers: number;
  /** Paths that a start looks at beside the modules. */
  readonly watches: number;
  /** Size of NAME.linked. */
  readonly bytes: number;
  /** Words that every start writes anew, by kind. */
  readonly fixUps: readonly Counted[];
  /** Words that differed between runs and keep a value, by cause. */
  readonly leftovers: readonly Counted[];
}

/** What it costs that modules are joined, in bytes. */
export interface JoinedFigures {
  /** Code and constants that stand in the image, and in the modules' files for other programs. */
  readonly copied: number;
  /** Those that stay in the modules' files, for all images and other programs; absent: an image of an older winnow, which has copies of all. */
  readonly shared?: number;
  /** Constants and relocated data that can be executed, and could not by themselves. */
  readonly executable: number;
  /** Stubs of the PLT that jump directly, and those that stayed because they lead too far. */
  readonly calls?: { readonly direct: number; readonly far: number };
}

/** Small libraries that the image has whole. */
export interface TakenFigures {
  readonly libraries: number;
  /** Code and constants that stand in the image, and in the libraries' files for other programs. */
  readonly bytes: number;
}

/** What it costs and gives that each start chooses other addresses. */
export interface SlideFigures {
  /** How random they are: bits, not whole ones. 0: the program has fixed addresses. */
  readonly programBits: number;
  readonly modulesBits: number;
  /** 4 KiB pages that are each process's own, as they hold addresses. */
  readonly pages: number;
  /** Words that are not aligned. */
  readonly oddWords: number;
  /** Where it was asked for that pages are slid when they are touched. */
  readonly pageIn?: PageIn;
}

/** Pages that follow each other. */
export interface PageRun {
  readonly page: number;
  readonly count: number;
}

/** Pages of a module, and where the first of them is in NAME.linked. */
export interface PlacedPages extends PageRun {
  readonly to: number;
}

/** Pages of a joined NAME.linked, for whoever fetches them. */
export interface JoinedPages {
  /** What every start needs: its head, and what linking made. In any order, without repetition. */
  readonly always: readonly PageRun[];
  readonly modules: readonly { readonly path: string; readonly pieces: readonly PlacedPages[] }[];
}

/** A program with an image after linking. */
export interface SharedProgram {
  readonly path: string;
  /** The program as it was when the image was made; the launcher starts no copy of one that has become another. */
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  /** Names in the image's folder: the program's copy, NAME.linked, and the launcher that the copy names. */
  readonly copy: string;
  readonly copySize: number;
  readonly linked: string;
  readonly restore: string;
  /** The module in which it may ask for its own path; undefined: the copy may be executed by its own name. */
  readonly asksForItself: string | undefined;
  /** LD_LIBRARY_PATH as it must be at a start; undefined: not set. */
  readonly libraryPath: string | undefined;
  /** Where its modules are joined in the image. */
  readonly joined: JoinedFigures | undefined;
  /** Of variant `auto`. */
  readonly taken: TakenFigures | undefined;
  /** Where each start chooses other addresses. */
  readonly slide: SlideFigures | undefined;
  readonly figures: ShareFigures;
  /** Where its modules are joined. */
  readonly joinedPages: JoinedPages | undefined;
  /** Pages of modules that the image has in their place, for whoever fetches them: numbers in the file, ascending. */
  readonly replaced: readonly { readonly path: string; readonly pages: readonly number[] }[];
}

/** The file in which starts that are not linked note why: runtime/restore-misses.c makes the name in the same way. */
export const missesName = (linked: string): string => linked.replace(/\.linked$/, '.misses');

export interface BuiltShare {
  readonly programs: readonly SharedProgram[];
  readonly kept: readonly KeptProgram[];
}
