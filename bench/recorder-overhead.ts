/**
 * What recording costs the program that is recorded: its own time from start to exit under
 * `winnow record`, as the recorder notes it in the run, against a plain run, both warm.
 */
import type { Sample } from '../src/bench/model.ts';
import { interleave } from '../src/bench/run.ts';
import { pairedRatio } from '../src/bench/stats.ts';
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
    const [plain, traced, quick] = await interleave({
      modes: [{ name: 'plain' }, { name: 'recorded' }, { name: 'quick' }],
      rounds,
      abort,
      onRound: (done, all) => onProgress(`recorder: ${recorded.program.title} ${done}/${all}`),
      runOnce: async ({ name }) => {
        if (name === 'plain') return plainRun();
        const run = recordOnce(recorded, store, name === 'quick' ? ['--quick'] : []);
        return {
          wallMs: run.durationMs,
          userMs: 0,
          systemMs: 0,
          majorFaults: 0,
          status: { kind: 'exited', code: 0 },
        };
      },
    });
    if (plain === undefined || traced === undefined || quick === undefined) continue;
    const against = (mode: typeof traced) =>
      pairedRatio(
        mode.samples.map((sample) => sample.wallMs),
        plain.samples.map((sample) => sample.wallMs),
      );
    results.push({
      title: recorded.program.title,
      plainMs: plain.wallMs,
      recordedMs: traced.wallMs,
      ratio: against(traced),
      quickMs: quick.wallMs,
      quickRatio: against(quick),
    });
  }
  return results;
}
