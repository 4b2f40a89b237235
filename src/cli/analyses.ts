/** Where the analyses of modules are kept: they depend on the modules alone, so all stores share them. */
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** `$XDG_CACHE_HOME/winnow/analyses`, or the same below `~/.cache`. */
export function analysesDir(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const cache = environment.XDG_CACHE_HOME ?? '';
  // The specification says that a relative XDG_CACHE_HOME is to be ignored.
  return join(isAbsolute(cache) ? cache : join(homedir(), '.cache'), 'winnow', 'analyses');
}
