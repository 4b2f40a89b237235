/**
 * Works on many modules with as many threads as pay.
 *
 * A thread costs some 100 ms before it does anything (Node, iced-x86), so small programs are built in this
 * one. Each thread holds one module at a time: memory grows with the largest modules, not with their number.
 */
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type ModuleJob, type ModuleResult, type RewriteTools, workOn } from './module-work.ts';
import { hostPath } from './plan.ts';
import { openTools } from './tools.ts';
import type { WorkerAnswer, WorkerTask } from './worker.ts';

export interface PoolOptions {
  /** Folder of the cache of analyses; none where it is not given. */
  readonly cache?: string;
  /** Threads; by default as many as pay. 0 works in this one. */
  readonly threads?: number;
  /** Called after each module. */
  readonly onProgress?: (done: number, all: number) => void;
  /** In place of src/rewrite, for tests; in this thread. */
  readonly tools?: RewriteTools;
}

const MOST_THREADS = 8;
/** Bytes of modules that one thread gets through while another starts. */
const BYTES_A_THREAD = 8 * 1024 * 1024;

/** The results in the order of the jobs. @throws what `workOn` throws; files that were written stay. */
export async function workOnAll(
  jobs: readonly ModuleJob[],
  options: PoolOptions = {},
): Promise<ModuleResult[]> {
  const threads = options.tools !== undefined ? 0 : (options.threads ?? threadsFor(jobs));
  return threads > 1 ? inThreads(jobs, threads, options) : here(jobs, options);
}

async function here(
  jobs: readonly ModuleJob[],
  { cache, tools = openTools(cache), onProgress }: PoolOptions,
): Promise<ModuleResult[]> {
  return jobs.map((job, index) => {
    const result = workOn(job, tools);
    onProgress?.(index + 1, jobs.length);
    return result;
  });
}

/** Unbuilt sources (tests) cannot be started as threads: Node 20 reads no TypeScript. */
const WORKER = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);
const isBuilt = WORKER.pathname.endsWith('.js');

function threadsFor(jobs: readonly ModuleJob[]): number {
  if (!isBuilt) return 0;
  const bytes = jobs.reduce((sum, { use, context }) => sum + sizeOf(hostPath(use.path, context.root)), 0);
  return Math.min(MOST_THREADS, availableParallelism(), jobs.length, Math.ceil(bytes / BYTES_A_THREAD));
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

async function inThreads(
  jobs: readonly ModuleJob[],
  threads: number,
  { cache, onProgress }: PoolOptions,
): Promise<ModuleResult[]> {
  // The largest first: a thread that takes it last would keep the others waiting.
  const sizes = jobs.map(({ use, context }) => sizeOf(hostPath(use.path, context.root)));
  const order = jobs.map((_, index) => index).sort((a, b) => (sizes[b] ?? 0) - (sizes[a] ?? 0));
  const task: WorkerTask = {
    jobs: order.flatMap((index) => jobs[index] ?? []),
    next: new Int32Array(new SharedArrayBuffer(4)),
    cache,
  };
  const results = new Map<number, ModuleResult>();
  const workers = Array.from({ length: threads }, () => new Worker(WORKER, { workerData: task }));
  try {
    await Promise.all(
      workers.map((worker) =>
        ended(worker, (index, result) => {
          results.set(order[index] ?? -1, result);
          onProgress?.(results.size, jobs.length);
        }),
      ),
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return jobs.map((_, index) => {
    const result = results.get(index);
    if (result === undefined) throw new Error(`a thread ended before module ${index} was done`);
    return result;
  });
}

function ended(worker: Worker, onDone: (index: number, result: ModuleResult) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on('message', (answer: WorkerAnswer) => {
      if (answer.kind === 'done') return onDone(answer.index, answer.result);
      const { error, code } = answer;
      reject(code === undefined ? error : Object.assign(error, { code }));
    });
    worker.on('error', reject);
    worker.on('exit', () => resolve());
  });
}
