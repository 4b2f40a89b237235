/** What an image with denied code noted while it ran without a tracer: `misses.log`, as runtime/demand-report.c writes it. */
import { type Rva, rva } from '../base/brands.ts';
import type { DeniedModule, Miss } from './misses.ts';

export const MISS_LOG = 'misses.log';

/** A page number and its place in it are below 4 GiB in every module that can be rewritten. */
const MOST_RVA = 2 ** 32;

/**
 * The misses of a log that lie in the given modules, each once, in the order of the first. A line that is cut off or of
 * another module is left out.
 */
export function readMissLog(text: string, modules: readonly DeniedModule[]): Miss[] {
  const known = new Set(modules.map(({ path }) => path));
  const found = new Map<string, Miss>();
  for (const line of text.split('\n')) {
    const [module, place, , caller] = line.split('\t');
    if (module === undefined || place === undefined || caller === undefined || !known.has(module)) continue;
    const at = placeOf(place);
    if (at === undefined) continue;
    const key = `${module}\0${at}`;
    found.set(key, { module, at, times: (found.get(key)?.times ?? 0) + 1 });
  }
  return [...found.values()];
}

function placeOf(text: string): Rva | undefined {
  const at = /^0x[0-9a-f]{1,8}$/.test(text) ? Number(text) : MOST_RVA;
  return at < MOST_RVA ? rva(at) : undefined;
}

/** Both, each place once; what the first has stands first. */
export function joinMisses(first: readonly Miss[], second: readonly Miss[]): Miss[] {
  const all = new Map(first.map((miss) => [`${miss.module}\0${miss.at}`, miss]));
  for (const miss of second) {
    const key = `${miss.module}\0${miss.at}`;
    all.set(key, { ...miss, times: miss.times + (all.get(key)?.times ?? 0) });
  }
  return [...all.values()];
}
