/** How many reads a device answers a second, and how many bytes: `runtime/read-rate.c`, and what it prints. */
import { spawnSync } from 'node:child_process';
import { runtimeFile } from './runtime.ts';

/** What read-rate opens at most. */
export const MOST_FILES = 64;

export type NoRates = 'no-direct-reads' | 'too-little-to-read' | 'no-answer';

export type ReadRates =
  /** As many requests a second as are enough, or more. */
  | { readonly kind: 'fast' }
  | { readonly kind: 'slow'; readonly requestsPerSecond: number; readonly bytesPerSecond: number }
  | { readonly kind: 'kept'; readonly reason: NoRates };

/** What the helper does by itself takes half a second, and a second more where readers are stuck. */
const LONGEST_MS = 3000;

/** @param files regular files of one device, readable. @param enough requests a second of a fast device. */
export function measureReads(files: readonly string[], enough: number): ReadRates {
  const done = spawnSync(runtimeFile('read-rate'), [String(enough), ...files.slice(0, MOST_FILES)], {
    encoding: 'utf8',
    env: {},
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: LONGEST_MS,
    killSignal: 'SIGKILL',
  });
  if (done.status === 1) return { kind: 'kept', reason: 'no-direct-reads' };
  if (done.status === 2) return { kind: 'kept', reason: 'too-little-to-read' };
  return done.status === 0 ? parseReadRates(done.stdout, enough) : { kind: 'kept', reason: 'no-answer' };
}

/** What read-rate prints. */
export function parseReadRates(text: string, enough: number): ReadRates {
  const [, requests, bytes] = /^(\d+) (\d+)\n$/.exec(text) ?? [];
  const rates = { requestsPerSecond: Number(requests), bytesPerSecond: Number(bytes) };
  if (rates.requestsPerSecond >= enough) return { kind: 'fast' };
  // Not a single read was answered while somebody looked, or nothing was said.
  if (!(rates.requestsPerSecond > 0 && rates.bytesPerSecond > 0))
    return { kind: 'kept', reason: 'no-answer' };
  return { kind: 'slow', ...rates };
}
