import { type Stats, statSync } from 'node:fs';

/** stat(2), or nothing where the file is not there or may not be looked at. */
export function statOrNothing(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    // EACCES, ELOOP, ENAMETOOLONG: no file for us.
    return undefined;
  }
}
