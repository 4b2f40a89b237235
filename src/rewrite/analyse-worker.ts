/** A thread that analyses files until none is left. Started by `analyse-all.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import { analyseFile } from './analyse-file.ts';
import type { BreakpointPlaces, Kept } from './model.ts';

export interface AnalyseTask {
  readonly paths: readonly string[];
  /** Index of the next path that nobody has taken. */
  readonly next: Int32Array;
  /** Folder of the cache. */
  readonly cache: string | undefined;
}

export interface Analysed {
  readonly index: number;
  readonly places: BreakpointPlaces | Kept;
}

const task: AnalyseTask = workerData;

for (;;) {
  const index = Atomics.add(task.next, 0, 1);
  const path = task.paths[index];
  if (path === undefined) break;
  const answer: Analysed = { index, places: analyseFile(path, task.cache) };
  parentPort?.postMessage(answer);
}
