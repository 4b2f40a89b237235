/**
 * Builds images of programs whose modules are rewritten, or that will run in another root: the loader is run where it
 * finds the copies under the names of the originals, and in that root, as a start will.
 *
 * A mount namespace and a root can belong to a thread, so this is a thread's work: the others go on seeing the originals.
 */
import { Worker } from 'node:worker_threads';
import type { ShareBuildOptions } from './build.ts';
import type { BuiltShare, PlannedShare } from './built.ts';
import type { ShareAnswer, ShareTask, Sight } from './worker.ts';

const WORKER = new URL('./worker.js', import.meta.url);

/**
 * @param planned with paths as they are in the root; the options' folder and image too.
 * @throws what `buildShare`, `showHere` and `enterRoot` throw.
 */
export function buildShareShown(
  planned: PlannedShare,
  { onProgress, ...options }: ShareBuildOptions,
  sight: Sight,
): Promise<BuiltShare> {
  const workerData: ShareTask = { planned, options, sight };
  const worker = new Worker(WORKER, { workerData });
  return new Promise((resolve, reject) => {
    worker.on('error', reject);
    let built: BuiltShare | undefined;
    worker.on('exit', () => {
      // Only now its mounts are gone, which would keep a file system busy.
      if (built !== undefined) resolve(built);
      else reject(new Error('the thread that links programs ended early'));
    });
    worker.on('message', (message: ShareAnswer) => {
      if (message.kind === 'progress') onProgress?.(message.done, message.all);
      else if (message.kind === 'built') built = message.share;
      else reject(Object.assign(message.error, message.code === undefined ? {} : { code: message.code }));
    });
  });
}
