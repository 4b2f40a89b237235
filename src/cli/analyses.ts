/** Where the analyses of modules are kept: they depend on the modules alone, so all stores share them. */
import { join } from 'node:path';
import { type Environment, xdgFolder } from '../sys/home.ts';

/** `$XDG_CACHE_HOME/winnow/analyses`, or the same below `~/.cache`. */
export const analysesDir = (environment: Environment = process.env): string =>
  join(xdgFolder(environment, 'XDG_CACHE_HOME', '.cache'), 'winnow', 'analyses');
