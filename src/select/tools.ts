/** What src/rewrite does for this room. */
import { analyseModule } from '../rewrite/analyse.ts';
import { rewriteModule } from '../rewrite/rewrite.ts';
import type { RewriteTools } from './module-work.ts';

/** @param cache folder of the cache of analyses. */
export function openTools(_cache: string | undefined): RewriteTools {
  return { analyse: analyseModule, rewrite: rewriteModule };
}
