/**
 * What recording costs the program that is recorded: its own time from start to exit under
 * `winnow record`, as the recorder notes it in the run, against a plain run, both warm.
 *
 * How: from inside, as the first runs of a command are recorded; by the tracer; by the tracer with fault-around left on; light in the very
 * first run (`--quick`); and by default once it is learnt. A control has exact page faults without any recorder
 * (`support/exact-faults.c`), compared with a run that is audited likewise and faults as ever.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ModeResult, Sample } from '../src/bench/model.ts';
import { interleave } from '../src/bench/run.ts';
import { pairedRatio } from '../src/bench/stats.ts';
import { LEARNING_RUNS } from '../src/profile/learn.ts';
import { runProcess } from '../src/sys/spawn.ts';
import { ENVIRONMENT } from './support/programs.ts';
import type { RecorderResult } from './support/report.ts';
import { tool } from './support/sh.ts';
import { freshHostScratch, REPOSITORY, type Recorded, recordOnce } from './support/winnow.ts';

const PLAIN = 'plain';
const AUDITED = 'audited';
const EXACT = 'exact faults, no recorder';
const THOROUGH = 'from inside: the first runs';
const TRACED = 'traced (--traced)';
const AROUND = 'traced, fault-around left on';
const QUICK = 'light from the first run on (--quick)';
const LEARNT = 'by default, once learnt';

/** Each with what it is compared with. */
const MODES = [
  { name: PLAIN, against: PLAIN },
  { name: AUDITED, against: PLAIN },
  { name: EXACT, against: AUDITED },
  { name: THOROUGH, against: PLAIN },
  { name: TRACED, against: PLAIN },
  { name: AROUND, against: PLAIN },
  { name: QUICK, against: PLAIN },
  { name: LEARNT, against: PLAIN },
];

export interface RecorderOptions {
  /** A scratch folder: the runs recorded here are thrown away. */
  readonly folder: string;
  readonly rounds: number;
  readonly abort: AbortSignal;
  readonly onProgress: (text: string) => void;
}

/** Measures on the host. */
export async function measureRecorder(
  programs: readonly Recorded[],
  { folder, rounds, abort, onProgress }: RecorderOptions,
): Promise<RecorderResult[]> {
  const object = compileControl(folder);
  const results: RecorderResult[] = [];
  for (const recorded of programs) {
    // Each way in a store of its own: what is recorded decides how the next default recording is made.
    const stores = (name: string): string => join(folder, `overhead-${name}`);
    plainRun(recorded);
    for (let i = 0; i < LEARNING_RUNS; i += 1) recordOnce(recorded, stores('learnt'));
    let light = 0;
    const measured = await interleave({
      modes: MODES,
      rounds,
      abort,
      onRound: (done, all) => onProgress(`recorder: ${recorded.program.title} ${done}/${all}`),
      runOnce: async ({ name }) => {
        switch (name) {
          case PLAIN:
            return plainRun(recorded);
          case AUDITED:
            return plainRun(recorded, { LD_AUDIT: object, WINNOW_AROUND: '1' });
          case EXACT:
            return plainRun(recorded, { LD_AUDIT: object });
          case THOROUGH:
            return sampleOf(recordOnce(recorded, stores('thorough'), ['--thorough']).durationMs);
          case TRACED:
            return sampleOf(recordOnce(recorded, stores('traced'), ['--traced']).durationMs);
          case AROUND:
            return sampleOf(
              recordOnce(recorded, stores('around'), ['--thorough', '--fault-around']).durationMs,
            );
          case QUICK:
            rmSync(stores('quick'), { recursive: true, force: true });
            return sampleOf(recordOnce(recorded, stores('quick'), ['--quick']).durationMs);
          default: {
            const run = recordOnce(recorded, stores('learnt'));
            if (run.method.lookups === 'unseen') light += 1;
            return sampleOf(run.durationMs);
          }
        }
      },
    });
    const result = resultOf(recorded.program.title, measured);
    if (result !== undefined) results.push({ ...result, light: light / rounds });
  }
  return results;
}

function compileControl(folder: string): string {
  const target = join(folder, 'exact-faults.so');
  const source = join(REPOSITORY, 'bench', 'support', 'exact-faults.c');
  const flags = ['-O2', '-shared', '-fPIC', '-nostdlib', '-ffreestanding', '-fno-stack-protector'];
  tool(process.env.CC ?? 'gcc', ...flags, '-fvisibility=hidden', '-o', target, source);
  return target;
}

function plainRun(recorded: Recorded, more: Readonly<Record<string, string>> = {}): Sample {
  freshHostScratch();
  const run = runProcess({
    file: recorded.file,
    argv: recorded.argv,
    env: { ...ENVIRONMENT, ...more },
    cwd: recorded.folder,
    stdin: { kind: 'null' },
    stdout: { kind: 'null' },
    stderr: { kind: 'null' },
  });
  return {
    wallMs: run.wallNs / 1e6,
    userMs: run.usage.userNs / 1e6,
    systemMs: run.usage.systemNs / 1e6,
    majorFaults: run.usage.majorFaults,
    status: run.status,
  };
}

const sampleOf = (wallMs: number): Sample => ({
  wallMs,
  userMs: 0,
  systemMs: 0,
  majorFaults: 0,
  status: { kind: 'exited', code: 0 },
});

function resultOf(title: string, measured: readonly ModeResult[]): Omit<RecorderResult, 'light'> | undefined {
  const modeOf = (name: string): ModeResult | undefined => measured.find((mode) => mode.name === name);
  const plain = modeOf(PLAIN);
  if (plain === undefined) return undefined;
  const times = (mode: ModeResult | undefined): number[] => (mode?.samples ?? []).map(({ wallMs }) => wallMs);
  const modes = MODES.filter(({ name }) => name !== PLAIN).flatMap(({ name, against }) => {
    const mode = modeOf(name);
    if (mode === undefined) return [];
    const ratio = pairedRatio(times(mode), times(modeOf(against)));
    return [{ name, ms: mode.wallMs, against, ratio }];
  });
  return { title, plainMs: plain.wallMs, modes };
}
