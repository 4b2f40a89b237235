/** Profiles as files of a store's folder. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { decodeProfile } from './codec.ts';
import type { Profile } from './model.ts';
import { isValidName } from './name.ts';
import { storeFailure } from './store-errors.ts';
import { readTrusted, trustedFolder } from './store-files.ts';

const SUFFIX = '.wnp';

/** Where the profile of a valid name stands, or would. */
export const profileFile = (dir: string, name: string): string => join(dir, 'profiles', `${name}${SUFFIX}`);

/** The names of the profiles in a store; none where it does not exist. @throws WinnowError E_STORE_… */
export function namesIn(dir: string): string[] {
  if (trustedFolder(dir) === undefined || trustedFolder(join(dir, 'profiles')) === undefined) return [];
  try {
    const files = readdirSync(join(dir, 'profiles')).filter((file) => file.endsWith(SUFFIX));
    return files.map((file) => file.slice(0, -SUFFIX.length)).filter(isValidName);
  } catch (error) {
    throw storeFailure(error, dir);
  }
}

/** Undefined where there is none of this name. @throws WinnowError E_STORE_…, E_PROFILE_… */
export function readFrom(dir: string, name: string): Profile | undefined {
  if (trustedFolder(dir) === undefined || trustedFolder(join(dir, 'profiles')) === undefined)
    return undefined;
  const path = profileFile(dir, name);
  const bytes = readTrusted(path);
  return bytes === undefined ? undefined : { ...decodeProfile(bytes, path), name };
}
