/**
 * What recording costs the program that is recorded: its own time from start to exit under
 * `winnow record`, as the recorder notes it in the run, against a plain run, both warm.
 *
 * Two ways: `thorough`, as the first runs of a command are recorded, and `learnt`, as it is recorded by
 * default from then on.
 */
import type { Sample } from '../src/bench/model.ts';
import { interleave } from '../src/bench/run.ts';
import { pairedRatio } from '../src/bench/stats.ts';
import { LEARNING_RUNS } from '../src/profile/learn.ts';
import { runProcess } from '../src/sys/spawn.ts';
import { ENVIRONMENT } from './support/programs.ts';
import type { RecorderResult } from './support/report.ts';
import { freshHostScratch, type Recorded, recordOnce } from './support/winnow.ts';

/** Measures on the host. `store` is a scratch store: the runs recorded here are thrown away. */
export async function measureRecorder(
  programs: readonly Recorded[],
  store: string,
  rounds: number,
  abort: AbortSignal,
  onProgress: (text: string) => void,
): Promise<RecorderResult[]> {
  const results: RecorderResult[] = [];
  for (const recorded of programs) {
    const plainRun = (): Sample => {
      freshHostScratch();
      const run = runProcess({
        file: recorded.file,
        argv: recorded.argv,
        env: ENVIRONMENT,
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
    };
    plainRun();
    // What the default is from the first measured round on: the command is learnt.
    for (let i = 0; i < LEARNING_RUNS; i += 1) recordOnce(recorded, store);
    let light = 0;
    const [plain, thorough, learnt] = await interleave({
      modes: [{ name: 'plain' }, { name: 'thorough' }, { name: 'learnt' }],
      rounds,
      abort,
      onRound: (done, all) => onProgress(`recorder: ${recorded.program.title} ${done}/${all}`),
      runOnce: async ({ name }) => {
        if (name === 'plain') return plainRun();
        // Each in a store of its own, or a thorough round would decide how the next default one is made.
        const run =
          name === 'thorough'
            ? recordOnce(recorded, `${store}-thorough`, ['--thorough'])
            : recordOnce(recorded, store);
        if (name === 'learnt' && run.method.lookups === 'unseen') light += 1;
        return {
          wallMs: run.durationMs,
          userMs: 0,
          systemMs: 0,
          majorFaults: 0,
          status: { kind: 'exited', code: 0 },
        };
      },
    });
    if (plain === undefined || thorough === undefined || learnt === undefined) continue;
    const against = (mode: typeof plain) =>
      pairedRatio(
        mode.samples.map((sample) => sample.wallMs),
        plain.samples.map((sample) => sample.wallMs),
      );
    results.push({
      title: recorded.program.title,
      plainMs: plain.wallMs,
      thoroughMs: thorough.wallMs,
      thoroughRatio: against(thorough),
      learntMs: learnt.wallMs,
      learntRatio: against(learnt),
      light: light / learnt.samples.length,
    });
  }
  return results;
}
