/** What a measurement found: data only; `terminal.ts` words it. Times are milliseconds, sizes bytes. */
import type { ExitStatus } from '../sys/spawn.ts';
import type { Machine } from './machine.ts';
import type { RatioSummary, Summary } from './stats.ts';

/** A program to start: what is executed, and its argv. */
export interface Step {
  readonly file: string;
  readonly argv: readonly string[];
}

/** One way to run the program; its steps follow each other and all count. The first mode is the base. */
export interface Mode {
  readonly name: string;
  readonly steps: readonly Step[];
}

/** One run of one mode. */
export interface Sample {
  readonly wallMs: number;
  readonly userMs: number;
  readonly systemMs: number;
  readonly majorFaults: number;
  /** Read from the devices that hold the files, from the start until they were quiet again. */
  readonly diskBytes?: number;
  /** How the last step ended. */
  readonly status: ExitStatus;
}

export interface ModeResult {
  readonly name: string;
  readonly wallMs: Summary;
  readonly cpuMs: Summary;
  readonly majorFaults: Summary;
  readonly diskBytes?: Summary;
  /** How many times faster than the base mode, round by round; absent for the base itself. */
  readonly speedup?: RatioSummary;
  /** Read bytes over those of the base mode, round by round. */
  readonly diskRatio?: RatioSummary;
  readonly samples: readonly Sample[];
}

export type Temperature = 'warm' | 'cold';

export interface Section {
  readonly temperature: Temperature;
  readonly modes: readonly ModeResult[];
  /** How caches were emptied before each run, and what stayed. */
  readonly cold?: ColdState;
}

export interface ColdState {
  readonly method: 'drop-caches' | 'fadvise' | 'remount';
  /** Bytes of the working set that were still in memory after emptying (median over the runs). */
  readonly residentBytes?: number;
  readonly workingSetBytes?: number;
  /** The files with most of it, in bytes. */
  readonly residentFiles: readonly { readonly path: string; readonly bytes: number }[];
}

export type WarningCode =
  | 'few-runs'
  | 'noisy'
  | 'outliers'
  | 'failed'
  | 'not-cold'
  | 'lookups-warm'
  | 'very-short';

export interface Warning {
  readonly code: WarningCode;
  readonly text: string;
}

export interface BenchReport {
  readonly command: readonly string[];
  readonly machine: Machine;
  readonly rounds: number;
  readonly sections: readonly Section[];
  readonly warnings: readonly Warning[];
  /** What was asked for and could not be measured, in words. */
  readonly unmeasured: readonly string[];
}
