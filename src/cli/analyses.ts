/** Where the analyses of modules are kept: they depend on the modules alone, so all profiles share them. */
import { join } from 'node:path';
import type { Store } from '../profile/store.ts';

export const analysesDir = (store: Store): string => join(store.dir, 'analyses');
