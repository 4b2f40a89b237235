/** What a recording is asked for, and what it gives. */
import type { Pid } from '../base/brands.ts';
import type { Command, Ended, Run } from '../profile/model.ts';
import type { Fd } from '../sys/fds.ts';
import type { CodeObserver, Observer } from './events.ts';

/** How often a recording looks up when nothing happens. */
export const PROGRESS_MS = 200;

export interface RecordRequest {
  /** `program` resolved, argv as typed. */
  readonly command: Command;
  readonly env: Readonly<Record<string, string>>;
  /** The caller's soft limit on open files; 0 leaves what this process has. */
  readonly openFiles: number;
  /** The caller's ignored signals: hexadecimal mask. */
  readonly ignoredSignals: string;
  /** The caller's blocked signals: hexadecimal mask. */
  readonly blockedSignals: string;
  /** The caller's descriptors beyond the first three. They go to the program and are closed here. */
  readonly descriptors: readonly Fd[];
  /** Leave the program running after so many milliseconds. */
  readonly stopAfterMs: number | undefined;
  /** Page tables only, with next to no cost for the program: no tracer, no observers. */
  readonly light?: boolean;
  /** By the tracer, also where a recording from inside could do; `preferred`: unless tracing is refused. */
  readonly traced?: 'asked' | 'preferred' | undefined;
  /** False: fault-around stays on, so pages are rounded up: to measure what exact ones cost. */
  readonly exactPages?: boolean;
  /** False: no seccomp filter, so no look-ups and read() files. */
  readonly filter: boolean;
  /** More observers, for techniques that need other events. */
  readonly observers?: readonly Observer[];
  /** Finds out which functions are entered; not where the filter is refused, which tells of modules. */
  readonly code?: CodeObserver | undefined;
  /** Called about five times a second. */
  readonly onProgress?: (state: { readonly processes: number; readonly lookups: number }) => void;
}

export interface Recording {
  readonly run: Run;
  /** How the program itself ended; undefined where it was left running. */
  readonly ended: Ended | undefined;
  readonly leftRunning: readonly Pid[];
}
