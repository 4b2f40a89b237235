/** A thread that analyses files until none is left. Started by `analyse-all.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import { analyseFile } from './analyse-file.ts';

export interface AnalyseTask {
  readonly paths: readonly string[];
  /** Index of the next path that nobody has taken. */
  readonly next: Int32Array;
  /** Folder of the cache. */
  readonly cache: string | undefined;
}

export interface Analysed {
  readonly index: number;
  readonly encoded: Uint8Array;
}

const task: AnalyseTask = workerData;

for (;;) {
  const index = Atomics.add(task.next, 0, 1);
  const path = task.paths[index];
  if (path === undefined) break;
  const encoded = analyseFile(path, task.cache);
  const answer: Analysed = { index, encoded };
  if (encoded.buffer instanceof ArrayBuffer) parentPort?.postMessage(answer, [encoded.buffer]);
}
