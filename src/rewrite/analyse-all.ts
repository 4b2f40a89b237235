/**
 * Analyses many modules, with several threads where that pays, and tells where to break in them.
 *
 * A thread takes 0.2 s before it does anything (Node, iced-x86). Analyses of large programs take hundreds of
 * megabytes; so they stay in the threads, one at a time, and go into the cache from there.
 */
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { MessageChannel, Worker } from 'node:worker_threads';
import { analyseFile } from './analyse-file.ts';
import type { Analysed, AnalyseTask } from './analyse-worker.ts';
import { Analyst } from './analyst.ts';
import type { BreakpointPlaces, Kept } from './model.ts';

export interface AnalyseAllOptions {
  /** Threads; by default as many as pay. 0 works in this one. */
  readonly workers?: number;
  /** Folder of the cache; without it nothing is read from one or kept. */
  readonly cache?: string;
  /** Called after each module. */
  readonly onProgress?: (done: number, all: number) => void;
}

const MOST_WORKERS = 8;
/** Bytes of modules that this thread gets through while another starts. */
const BYTES_A_WORKER = 4 * 1024 * 1024;

/** Unbuilt sources (tests) cannot be started as threads: Node 20 reads no TypeScript. */
const WORKER = new URL(
  import.meta.url.endsWith('.ts') ? './analyse-worker.ts' : './analyse-worker.js',
  import.meta.url,
);
const isBuilt = WORKER.pathname.endsWith('.js');

export interface AnalysedAll {
  /** Where to break, by path; the analyses are in the cache. A file that cannot be read is kept. */
  readonly places: ReadonlyMap<string, BreakpointPlaces | Kept>;
  /** One of the threads, to be asked for more; who called closes it. Undefined where there were none. */
  readonly analyst: Analyst | undefined;
}

export async function analyseAll(
  paths: readonly string[],
  options: AnalyseAllOptions = {},
): Promise<AnalysedAll> {
  const { cache } = options;
  const found = new Map<string, BreakpointPlaces | Kept>();
  const sizes = new Map(paths.map((path) => [path, statSync(path, { throwIfNoEntry: false })?.size ?? 0]));
  // The largest first: a thread that takes it last would keep the others waiting.
  const order = [...sizes].sort((a, b) => b[1] - a[1]).map(([path]) => path);
  const add = (path: string, places: BreakpointPlaces | Kept): void => {
    found.set(path, places);
    options.onProgress?.(found.size, order.length);
  };
  const workers = isBuilt ? (options.workers ?? workersFor([...sizes.values()])) : 0;
  if (workers > 0) return { places: found, analyst: await inThreads(order, workers, cache, add) };
  for (const path of order) add(path, analyseFile(path, cache));
  return { places: found, analyst: undefined };
}

/** A single thread beside this one would only cost its start. */
function workersFor(sizes: readonly number[]): number {
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const worth = Math.min(
    MOST_WORKERS,
    availableParallelism(),
    sizes.length,
    Math.ceil(bytes / BYTES_A_WORKER),
  );
  return worth > 1 ? worth : 0;
}

async function inThreads(
  paths: readonly string[],
  count: number,
  cache: string | undefined,
  add: (path: string, places: BreakpointPlaces | Kept) => void,
): Promise<Analyst> {
  const { port1, port2 } = new MessageChannel();
  const answered = new Int32Array(new SharedArrayBuffer(4));
  const task: AnalyseTask = { paths, next: new Int32Array(new SharedArrayBuffer(4)), cache, line: undefined };
  const line = { answered, port: port2 };
  const staying = new Worker(WORKER, { workerData: { ...task, line }, transferList: [port2] });
  const others = Array.from({ length: count - 1 }, () => new Worker(WORKER, { workerData: task }));
  try {
    await Promise.all([staying, ...others].map((worker) => worked(worker, paths, add)));
    return new Analyst(staying, { answered, port: port1 });
  } catch (error) {
    port1.close();
    await Promise.all([staying, ...others].map((worker) => worker.terminate()));
    throw error;
  }
}

/** Until no file is left for it. */
function worked(
  worker: Worker,
  paths: readonly string[],
  add: (path: string, places: BreakpointPlaces | Kept) => void,
): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    worker.on('message', (answer: Analysed) => {
      if (answer === 'idle') resolve();
      else add(paths[answer.index] ?? '', answer.places);
    });
    worker.on('error', reject);
    worker.on('exit', () => resolve());
  });
}
