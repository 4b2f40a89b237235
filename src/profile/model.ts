/**
 * The profile: what one command used, over its last runs.
 *
 * A profile is a set of runs. Merging is the union by run id, cut to the newest runs, so it is
 * commutative, associative and idempotent by construction; hit counts and orders are derived from the
 * runs when they are asked for (`stats.ts`) and never stored.
 */
import type { PageIndex, Rva } from '../base/brands.ts';

/** 32 lower-case hexadecimal digits, random. */
export type RunId = string;

/** How a file is recognised again. */
export interface FileIdentity {
  readonly size: number;
  /** Modification time in nanoseconds since the epoch. */
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  /** GNU build-id, lower-case hexadecimal; only ELF files have one. */
  readonly buildId?: string;
  /** `sha256:` and hexadecimal digits over the content, where there is no build-id. */
  readonly hash?: string;
}

/** A run of pages of one file. */
export interface Extent {
  readonly page: PageIndex;
  readonly count: number;
}

/** A file that a run used. The order of the list is the order of first use. */
export interface UsedFile {
  readonly path: string;
  readonly identity: FileIdentity;
}

/** The pages of one file that one process used. Extents ascend and do not touch. */
export interface UsedPages {
  /** Index into `Run.files`. */
  readonly file: number;
  /** Pages seen through a mapping, or given to read() and its kin. */
  readonly how: 'mapped' | 'read';
  readonly extents: readonly Extent[];
}

/** The code of one file that a run entered, over all its processes. */
export interface EnteredCode {
  /** Index into `Run.files`. */
  readonly file: number;
  /**
   * Where control came in: starts of functions and other places that lead into one from outside. In the order
   * of first use, none twice.
   */
  readonly entries: readonly Rva[];
}

export type Ended =
  | { readonly kind: 'exited'; readonly code: number }
  | { readonly kind: 'killed'; readonly signal: number }
  /** Replaced itself by execve: the next process record with the same pid goes on. */
  | { readonly kind: 'execed' }
  | { readonly kind: 'left-running' };

/** One program image in the process tree: an execve begins a new record. */
export interface UsedProcess {
  /** Index of the record it came from by fork or execve; undefined for the first. */
  readonly parent?: number;
  /** Absolute path of the executable. */
  readonly program: string;
  /** Arguments with what changes from run to run replaced (`argvShape`). */
  readonly argvShape: readonly string[];
  /** LD_LIBRARY_PATH in the environment it was executed with; undefined where it was not set, or nobody looked. */
  readonly libraryPath?: string;
  readonly ended: Ended;
  readonly pages: readonly UsedPages[];
}

/** A path that was looked up; first use decides the order. */
export interface Lookup {
  readonly path: string;
  readonly found: boolean;
}

/** Something about the recording that a person should know. Codes are stable. */
export interface Note {
  readonly code: string;
  readonly text: string;
}

export interface Command {
  /** Absolute path of the program as it was found on PATH (symbolic links kept). */
  readonly program: string;
  /** argv as it was typed, argv[0] first. */
  readonly argv: readonly string[];
  readonly cwd: string;
}

export interface Method {
  /** Whether present bits are one touch each, or rounded up to 64 KiB by fault-around. */
  readonly pages: 'exact' | 'fault-around';
  /** Whether path look-ups and read() files were seen. */
  readonly lookups: 'seen' | 'unseen';
  /**
   * Whether `Run.entered` was seen. Breakpoints make private copies of pages of code, which nobody can tell
   * from pages that the program touched: in such a run those pages are reckoned from what was entered.
   */
  readonly functions: 'seen' | 'unseen';
  readonly kernel: string;
}

export interface Run {
  readonly id: RunId;
  /** Milliseconds since the epoch, UTC. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly command: Command;
  readonly method: Method;
  readonly ended: Ended;
  readonly files: readonly UsedFile[];
  readonly processes: readonly UsedProcess[];
  readonly lookups: readonly Lookup[];
  /** Ascending by file, none twice; empty where functions were not seen. */
  readonly entered: readonly EnteredCode[];
  readonly notes: readonly Note[];
}

export interface Profile {
  readonly name: string;
  /** Newest first; ties are broken by id. At most `RUNS_KEPT`, and `LIGHT_RUNS_KEPT` light ones. */
  readonly runs: readonly Run[];
}

export const RUNS_KEPT = 16;
/** They say what the last recordings were, and whether they saw something new (`learn.ts`). */
export const LIGHT_RUNS_KEPT = 4;
