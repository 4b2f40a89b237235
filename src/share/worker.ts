/** A thread that links programs while it sees other files in place of some. Started by `build-shown.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import { showHere } from '../sys/mounts.ts';
import { buildShare, type ShareBuildOptions } from './build.ts';
import type { BuiltShare, PlannedShare } from './built.ts';

export interface ShareTask {
  readonly planned: PlannedShare;
  readonly options: Omit<ShareBuildOptions, 'onProgress'>;
  readonly shown: readonly { readonly from: string; readonly to: string }[];
}

export type ShareAnswer =
  | { readonly kind: 'progress'; readonly done: number; readonly all: number }
  | { readonly kind: 'built'; readonly share: BuiltShare }
  /** Errors lose their class between threads. */
  | { readonly kind: 'failed'; readonly error: Error; readonly code: string | undefined };

const { planned, options, shown }: ShareTask = workerData;
const answer = (message: ShareAnswer): void => parentPort?.postMessage(message);

try {
  showHere(shown);
  const onProgress = (done: number, all: number): void => answer({ kind: 'progress', done, all });
  answer({ kind: 'built', share: await buildShare(planned, { ...options, onProgress }) });
} catch (error) {
  if (!(error instanceof Error)) throw error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  answer({ kind: 'failed', error, code });
}
