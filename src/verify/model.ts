/** What a verification found: data only; `terminal.ts` words it. */
import type { ExitStatus } from '../sys/spawn.ts';

/** A program to run: what is executed, and the argv it is given. */
export interface Subject {
  readonly file: string;
  readonly argv: readonly string[];
}

/** Where two runs can differ. */
export type Place =
  | { readonly kind: 'end' }
  | { readonly kind: 'stdout' | 'stderr'; readonly line?: number }
  /** `path` is relative to the scratch folder: `work/…`, `tmp/…` or `home/…`. */
  | { readonly kind: 'file'; readonly path: string; readonly aspect: Aspect }
  /** Names that change from run to run, counted per folder. */
  | { readonly kind: 'names'; readonly folder: string };

export type Aspect = 'presence' | 'type' | 'mode' | 'owner' | 'size' | 'content' | 'target';

/** A place where the plain runs agree and the image's run does not. */
export interface Difference {
  readonly place: Place;
  /** What the plain runs show, in words: `exit code 0`, `mode 644`, a line of output. */
  readonly plain: string;
  readonly image: string;
}

export type NoteCode = 'all-failed' | 'timed-out' | 'killed-leftovers' | 'extra-plain-run';

export interface VerifyNote {
  readonly code: NoteCode;
  readonly text: string;
}

export interface RunSummary {
  readonly who: 'plain' | 'image';
  readonly status: ExitStatus;
  readonly timedOut: boolean;
  readonly wallNs: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly files: number;
  /** Where the run's scratch folder was kept. */
  readonly kept?: string;
}

export interface VerifyReport {
  readonly plain: Subject;
  readonly image: Subject;
  readonly verdict: 'same' | 'different';
  readonly runs: readonly RunSummary[];
  readonly differences: readonly Difference[];
  /** Places where the plain runs differ among themselves: nothing is said about the image there. */
  readonly notDeterministic: readonly Place[];
  readonly notes: readonly VerifyNote[];
}
