/** What src/rewrite does for this room. */
import { analyseModule } from '../rewrite/analyse.ts';
import { AnalysisCache } from '../rewrite/analysis-cache.ts';
import { rewriteModule } from '../rewrite/rewrite.ts';
import type { RewriteTools } from './module-work.ts';

/** @param cache folder of the cache of analyses. */
export function openTools(cache: string | undefined): RewriteTools {
  const known = cache === undefined ? undefined : AnalysisCache.open(cache);
  return { analyse: (image) => known?.analyse(image) ?? analyseModule(image), rewrite: rewriteModule };
}
