/**
 * Analyses many modules, with several threads where that pays.
 *
 * A thread takes 0.2 s before it does anything (Node, iced-x86). Threads give the bytes of analyses back,
 * which are moved, not copied; this thread makes analyses of them.
 */
import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { analyseFile, cachedFile } from './analyse-file.ts';
import type { Analysed, AnalyseTask } from './analyse-worker.ts';
import { decodeAnalysis } from './analysis-codec.ts';
import type { Kept, ModuleAnalysis } from './model.ts';

export interface AnalyseAllOptions {
  /** Threads; by default as many as pay. 0 works in this one. */
  readonly workers?: number;
  /** Folder of the cache; without it nothing is read from one or kept. */
  readonly cache?: string;
  /** Called after each module that was not in the cache. */
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

/** By path. A file that cannot be read is kept. */
export async function analyseAll(
  paths: readonly string[],
  options: AnalyseAllOptions = {},
): Promise<Map<string, ModuleAnalysis | Kept>> {
  const { cache } = options;
  const found = new Map<string, ModuleAnalysis | Kept>();
  const left = [...new Set(paths)].filter((path) => {
    const known = cache === undefined ? undefined : cachedFile(path, cache);
    if (known !== undefined) found.set(path, known);
    return known === undefined;
  });
  const sizes = new Map(left.map((path) => [path, statSync(path, { throwIfNoEntry: false })?.size ?? 0]));
  // The largest first: a thread that takes it last would keep the others waiting.
  left.sort((a, b) => (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0));
  let done = 0;
  const add = (path: string, encoded: Uint8Array): void => {
    const analysis = decodeAnalysis(encoded);
    if (analysis === undefined) throw new Error(`the analysis of ${path} cannot be read back`);
    found.set(path, analysis);
    done += 1;
    options.onProgress?.(done, left.length);
  };
  const workers = isBuilt ? (options.workers ?? workersFor([...sizes.values()])) : 0;
  if (workers > 0) await inThreads(left, workers, cache, add);
  else for (const path of left) add(path, analyseFile(path, cache));
  return found;
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
  add: (path: string, encoded: Uint8Array) => void,
): Promise<void> {
  const task: AnalyseTask = { paths, next: new Int32Array(new SharedArrayBuffer(4)), cache };
  const workers = Array.from({ length: count }, () => new Worker(WORKER, { workerData: task }));
  try {
    await Promise.all(
      workers.map(
        (worker) =>
          new Promise<void>((resolve, reject) => {
            worker.on('message', ({ index, encoded }: Analysed) => {
              try {
                add(paths[index] ?? '', encoded);
              } catch (error) {
                reject(error);
              }
            });
            worker.on('error', reject);
            worker.on('exit', () => resolve());
          }),
      ),
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
