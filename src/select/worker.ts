/** A thread that works on modules until none is left. Started by `pool.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import { WinnowError } from '../base/errors.ts';
import { type ModuleJob, type ModuleResult, workOn } from './module-work.ts';
import { openTools } from './tools.ts';

export interface WorkerTask {
  readonly jobs: readonly ModuleJob[];
  /** Index of the next job that nobody has taken. */
  readonly next: Int32Array;
  readonly cache: string | undefined;
}

export type WorkerAnswer =
  | { readonly kind: 'done'; readonly index: number; readonly result: ModuleResult }
  /** Errors lose their class between threads: what a person is told goes as plain data. */
  | { readonly kind: 'failed'; readonly error: Error; readonly code: string | undefined };

const task: WorkerTask = workerData;
const tools = openTools(task.cache);
const answer = (message: WorkerAnswer): void => parentPort?.postMessage(message);

for (;;) {
  const index = Atomics.add(task.next, 0, 1);
  const job = task.jobs[index];
  if (job === undefined) break;
  try {
    answer({ kind: 'done', index, result: workOn(job, tools) });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const code =
      !(error instanceof WinnowError) && 'code' in error && typeof error.code === 'string'
        ? error.code
        : undefined;
    answer({ kind: 'failed', error, code });
    break;
  }
}
