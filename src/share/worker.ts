/** A thread that links programs while it sees other files in place of some, or another root. Started by `build-shown.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import { enterRoot, showHere } from '../sys/mounts.ts';
import { holdStub } from '../sys/start.ts';
import { buildShare, type ShareBuildOptions } from './build.ts';
import type { BuiltShare, PlannedShare } from './built.ts';

export interface ShareTask {
  readonly planned: PlannedShare;
  readonly options: Omit<ShareBuildOptions, 'onProgress'>;
  readonly sight: Sight;
}

/** What a thread sees. Paths are this machine's. */
export interface Sight {
  /** Files, and those in whose place they are seen; absolute paths, links resolved. */
  readonly shown: readonly { readonly from: string; readonly to: string }[];
  /** Its root folder, and where /proc is to be in there. */
  readonly root?: { readonly root: string; readonly proc: string };
}

export type ShareAnswer =
  | { readonly kind: 'progress'; readonly done: number; readonly all: number }
  | { readonly kind: 'built'; readonly share: BuiltShare }
  /** Errors lose their class between threads. */
  | { readonly kind: 'failed'; readonly error: Error; readonly code: string | undefined };

const { planned, options, sight }: ShareTask = workerData;
const answer = (message: ShareAnswer): void => parentPort?.postMessage(message);

try {
  showHere(sight.shown);
  if (sight.root !== undefined) {
    holdStub();
    enterRoot(sight.root);
  }
  const onProgress = (done: number, all: number): void => answer({ kind: 'progress', done, all });
  answer({ kind: 'built', share: await buildShare(planned, { ...options, onProgress }) });
} catch (error) {
  if (!(error instanceof Error)) throw error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  answer({ kind: 'failed', error, code });
}
