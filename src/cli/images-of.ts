/** The folders in which a person's images are looked for: the store's own, then the system's. */
import { join } from 'node:path';
import { type Store, type StoreOptions, SYSTEM_STORE } from '../profile/store.ts';

export function imagesDirs(store: Store, options: StoreOptions): string[] {
  const system = join(SYSTEM_STORE, 'images');
  return options.store === undefined && system !== store.imagesDir
    ? [store.imagesDir, system]
    : [store.imagesDir];
}
