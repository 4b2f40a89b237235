/** The report as JSON (docs/formats.md): the model, with the long lists only where they are asked for. */
import type { Usage } from './usage.ts';
import type { UsageTextOptions } from './usage-text.ts';

export const USAGE_JSON_VERSION = 1;

/** Plain values for `writeJson`. */
export function usageJson(usage: Usage, options: UsageTextOptions): Record<string, unknown> {
  const { processes, lookups, ...rest } = usage;
  return {
    ...rest,
    ...(options.processes === true ? { processes } : {}),
    ...(options.lookups === true ? { lookups } : {}),
  };
}
