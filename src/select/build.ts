/** Builds what the plan says: rewritten modules, each a file in a folder. */

import { checkColdSupport } from './cold-support.ts';
import type { BuiltModule, BuiltSelect, KeptModule, ModuleUse } from './model.ts';
import { type ModuleJob, moduleFile } from './module-work.ts';
import type { SelectContext } from './plan.ts';
import { type PoolOptions, workOnAll } from './pool.ts';

export interface SelectBuildOptions extends PoolOptions {
  /** An empty folder for the rewritten modules; undefined where only figures are asked for. */
  readonly folder?: string;
}

/**
 * @param uses in the order of first use.
 * @throws WinnowError E_COLD_UNSUPPORTED, and what writing files throws; the folder then holds a part.
 */
export async function buildSelect(
  uses: readonly ModuleUse[],
  context: SelectContext,
  options: SelectBuildOptions = {},
): Promise<BuiltSelect> {
  const { folder } = options;
  checkColdSupport(uses, context);
  const jobs = uses.map(
    (use, index): ModuleJob => ({
      use,
      context,
      file: moduleFile(index, use.path),
      folder,
    }),
  );
  const modules: BuiltModule[] = [];
  const kept: KeptModule[] = [];
  for (const result of await workOnAll(jobs, options)) {
    if (result.kind === 'built') modules.push(result.module);
    else kept.push(result.module);
  }
  const { cold, onMiss } = context;
  return { cold, ...(onMiss === undefined ? {} : { onMiss }), modules, kept };
}
