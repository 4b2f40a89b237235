/**
 * Builds images of programs whose modules are rewritten: the loader is run where it finds the copies under the names
 * of the originals, as a start will.
 *
 * A mount namespace belongs to a thread, so this is a thread's work: the others go on seeing the originals.
 */
import { Worker } from 'node:worker_threads';
import type { ShareBuildOptions } from './build.ts';
import type { BuiltShare, PlannedShare } from './built.ts';
import type { ShareAnswer, ShareTask } from './worker.ts';

const WORKER = new URL('./worker.js', import.meta.url);

/**
 * @param shown copies and the originals in whose place they are seen; absolute paths, links resolved.
 * @throws what `buildShare` and `showHere` throw.
 */
export function buildShareShown(
  planned: PlannedShare,
  { onProgress, ...options }: ShareBuildOptions,
  shown: ShareTask['shown'],
): Promise<BuiltShare> {
  const workerData: ShareTask = { planned, options, shown };
  const worker = new Worker(WORKER, { workerData });
  return new Promise((resolve, reject) => {
    worker.on('error', reject);
    worker.on('exit', () => reject(new Error('the thread that links programs ended early')));
    worker.on('message', (message: ShareAnswer) => {
      if (message.kind === 'progress') onProgress?.(message.done, message.all);
      else if (message.kind === 'built') resolve(message.share);
      else reject(Object.assign(message.error, message.code === undefined ? {} : { code: message.code }));
    });
  });
}
