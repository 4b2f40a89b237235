/**
 * The measurement itself: every mode once in each round, in random order.
 *
 * `interleave` knows nothing of processes, so the suite in bench/ uses it with runs of its own.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { WinnowError } from '../base/errors.ts';
import { runProcess } from '../sys/spawn.ts';
import { bytesRead, type Device } from './machine.ts';
import type { Mode, ModeResult, Sample } from './model.ts';
import { pairedRatio, randomFrom, shuffled, summarize } from './stats.ts';

export interface InterleaveOptions<M extends { readonly name: string }> {
  /** The first is the base of all ratios. */
  readonly modes: readonly M[];
  readonly rounds: number;
  readonly seed?: number;
  readonly abort?: AbortSignal;
  readonly onRound?: (done: number, rounds: number) => void;
  readonly runOnce: (mode: M) => Promise<Sample>;
}

/**
 * Runs every mode `rounds` times.
 * @throws WinnowError `E_INTERRUPTED` between two runs once `abort` has fired; what `runOnce` throws.
 */
export async function interleave<M extends { readonly name: string }>(
  options: InterleaveOptions<M>,
): Promise<ModeResult[]> {
  const random = randomFrom(options.seed ?? Date.now());
  const samples = new Map<string, Sample[]>(options.modes.map((mode) => [mode.name, []]));
  for (let round = 0; round < options.rounds; round += 1) {
    options.onRound?.(round, options.rounds);
    for (const mode of shuffled(options.modes, random)) {
      samples.get(mode.name)?.push(await options.runOnce(mode));
      // A synchronous run keeps Node from seeing signals: let it see them now.
      await sleep(0);
      if (options.abort?.aborted === true) throw interrupted();
    }
  }
  options.onRound?.(options.rounds, options.rounds);
  return summarizeModes(
    options.modes.map((mode) => mode.name),
    samples,
  );
}

export function interrupted(): WinnowError {
  return new WinnowError({
    code: 'E_INTERRUPTED',
    kind: 'environment',
    what: 'interrupted by a signal; the measurement is not complete',
    next: 'run the command again',
    exitCode: 130,
  });
}

/** Summaries by mode; the first name is the base. */
export function summarizeModes(
  names: readonly string[],
  samples: ReadonlyMap<string, readonly Sample[]>,
): ModeResult[] {
  const base = samples.get(names[0] ?? '') ?? [];
  return names.map((name, index) => {
    const own = samples.get(name) ?? [];
    const disk = diskOf(own);
    const baseDisk = diskOf(base);
    return {
      name,
      wallMs: summarize(own.map((sample) => sample.wallMs)),
      cpuMs: summarize(own.map((sample) => sample.userMs + sample.systemMs)),
      majorFaults: summarize(own.map((sample) => sample.majorFaults)),
      ...(disk === undefined ? {} : { diskBytes: summarize(disk) }),
      ...(index === 0
        ? {}
        : {
            speedup: pairedRatio(
              base.map((sample) => sample.wallMs),
              own.map((sample) => sample.wallMs),
            ),
          }),
      ...(index === 0 || disk === undefined || baseDisk === undefined || baseDisk.includes(0)
        ? {}
        : { diskRatio: pairedRatio(disk, baseDisk) }),
      samples: own,
    };
  });
}

function diskOf(samples: readonly Sample[]): number[] | undefined {
  const values = samples.flatMap((sample) => (sample.diskBytes === undefined ? [] : [sample.diskBytes]));
  return values.length === samples.length && values.length > 0 ? values : undefined;
}

export interface RunConditions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly openFiles?: number;
  /** Empties the caches before each run. */
  readonly empty?: () => void;
  /** Devices whose counters are read around each run. */
  readonly devices?: readonly Device[];
}

/** Runs the steps of a mode one after another, output to /dev/null. All steps count. */
export async function runMode(mode: Mode, conditions: RunConditions): Promise<Sample> {
  conditions.empty?.();
  const counter = diskCounter(conditions.devices ?? []);
  let sample: Sample = {
    wallMs: 0,
    userMs: 0,
    systemMs: 0,
    majorFaults: 0,
    status: { kind: 'exited', code: 0 },
  };
  for (const step of mode.steps) {
    const run = runProcess({
      ...step,
      env: conditions.env,
      stdin: { kind: 'null' },
      stdout: { kind: 'null' },
      stderr: { kind: 'null' },
      ...(conditions.openFiles === undefined ? {} : { openFiles: conditions.openFiles }),
    });
    sample = {
      wallMs: sample.wallMs + run.wallNs / 1e6,
      userMs: sample.userMs + run.usage.userNs / 1e6,
      systemMs: sample.systemMs + run.usage.systemNs / 1e6,
      majorFaults: sample.majorFaults + run.usage.majorFaults,
      status: run.status,
    };
  }
  if (conditions.empty === undefined) return sample;
  const diskBytes = await counter();
  return diskBytes === undefined ? sample : { ...sample, diskBytes };
}

const QUIET_MS = 30;
const LONGEST_WAIT_MS = 3000;

/**
 * Notes what the devices have read; the function returned says what was read since, once nothing was
 * read for a while: a prefetch in the background may outlive the program.
 */
export function diskCounter(devices: readonly Device[]): () => Promise<number | undefined> {
  const total = (): number | undefined => {
    const values = devices.map(bytesRead);
    return values.length === 0 || values.includes(undefined)
      ? undefined
      : values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  };
  const before = total();
  return async () => {
    if (before === undefined) return undefined;
    const deadline = performance.now() + LONGEST_WAIT_MS;
    let last = total() ?? before;
    while (performance.now() < deadline) {
      await sleep(QUIET_MS);
      const now = total() ?? last;
      if (now === last) break;
      last = now;
    }
    return last - before;
  };
}
