/** What src/rewrite does for this room. */
import { rewriteModule } from '../rewrite/rewrite.ts';
import type { RewriteTools } from './module-work.ts';

const NOT_THERE = { kind: 'kept', reason: 'nothing rewrites modules yet' } as const;

/** @param cache folder of the cache of analyses. */
export function openTools(_cache: string | undefined): RewriteTools {
  return { analyse: () => NOT_THERE, rewrite: rewriteModule };
}
