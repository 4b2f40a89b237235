/** Warm starts: what the launcher adds when everything is in memory. */
import type { Mode } from '../src/bench/model.ts';
import { interleave } from '../src/bench/run.ts';
import { bootstrapMedian, median } from '../src/bench/stats.ts';
import type { ColdOptions, Ready } from './prefetch.ts';
import { PREFETCH } from './support/modes.ts';
import type { WarmResult } from './support/report.ts';
import { freshScratch, runInRoot } from './support/root-run.ts';

/** Measures each program's modes `plain` and `prefetch` in one mount that stays. */
export async function measureWarm(programs: readonly Ready[], options: ColdOptions): Promise<WarmResult[]> {
  const { disk } = options.runner;
  const results: WarmResult[] = [];
  disk.mount('ro');
  try {
    for (const { title, folder, modes } of programs) {
      const pair: Mode[] = modes.filter(({ name }) => name === 'plain' || name === PREFETCH.name);
      if (pair.length < 2) continue;
      for (const mode of pair) {
        freshScratch(disk.root);
        runInRoot(options.runner, mode.steps, folder);
      }
      const [plain, image] = await interleave({
        modes: pair,
        rounds: options.rounds,
        abort: options.abort,
        onRound: (done, rounds) => options.onProgress(`warm: ${title} ${done}/${rounds}`),
        runOnce: async (mode) => {
          freshScratch(disk.root);
          return runInRoot(options.runner, mode.steps, folder);
        },
      });
      if (plain === undefined || image === undefined) continue;
      const differences = plain.samples.map(
        (sample, i) => (image.samples[i]?.wallMs ?? Number.NaN) - sample.wallMs,
      );
      results.push({
        title,
        plainMs: plain.wallMs,
        imageMs: image.wallMs,
        overheadMs: {
          median: median(differences),
          interval: bootstrapMedian(differences),
          count: differences.length,
        },
      });
    }
  } finally {
    disk.unmount();
  }
  return results;
}
