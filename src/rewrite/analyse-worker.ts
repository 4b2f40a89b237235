/** A thread that analyses files until none is left; and one of them answers questions afterwards. */
import { parentPort, workerData } from 'node:worker_threads';
import { analyseFile, analyseOpenFile } from './analyse-file.ts';
import type { Line, Question } from './analyst.ts';
import type { BreakpointPlaces, Kept } from './model.ts';

export interface AnalyseTask {
  readonly paths: readonly string[];
  /** Index of the next path that nobody has taken. */
  readonly next: Int32Array;
  /** Folder of the cache. */
  readonly cache: string | undefined;
  /** From where questions come when all files are done; without it the thread ends then. */
  readonly line: Line | undefined;
}

/** `idle`: no file is left, and questions are waited for. */
export type Analysed = { readonly index: number; readonly places: BreakpointPlaces | Kept } | 'idle';

const task: AnalyseTask = workerData;

const say = (answer: Analysed): void => parentPort?.postMessage(answer);

for (;;) {
  const index = Atomics.add(task.next, 0, 1);
  const path = task.paths[index];
  if (path === undefined) break;
  say({ index, places: analyseFile(path, task.cache) });
}

if (task.line !== undefined) {
  const { port, answered } = task.line;
  port.on('message', (question: Question) => {
    let answer: BreakpointPlaces | Kept | undefined;
    try {
      answer = analyseOpenFile(question, task.cache);
    } finally {
      // Whatever happens here, nobody may wait for ever.
      port.postMessage(answer);
      Atomics.add(answered, 0, 1);
      Atomics.notify(answered, 0);
    }
  });
  say('idle');
}
