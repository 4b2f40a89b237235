/** Folders below the user's home, as the XDG base directory specification has them. */
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { WinnowError } from '../base/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * `$HOME`, or what the system knows, where that is none: not the current folder, into which an empty HOME would lead.
 * @throws WinnowError E_NO_HOME
 */
export function homeFolder({ HOME }: Environment = process.env): string {
  if (HOME !== undefined && isAbsolute(HOME)) return HOME;
  const known = systemHome();
  if (known !== undefined && isAbsolute(known)) return known;
  throw new WinnowError({
    code: 'E_NO_HOME',
    kind: 'environment',
    what: 'nobody knows your home folder: HOME is not an absolute path, and the system has no such user',
    next: 'set HOME, or XDG_DATA_HOME and XDG_CACHE_HOME',
  });
}

function systemHome(): string | undefined {
  try {
    return userInfo().homedir;
  } catch {
    // No entry for this user, as in many containers.
    return undefined;
  }
}

/** The folder that `variable` names, else `below` home; the specification says that a relative one is to be ignored. */
export function xdgFolder(environment: Environment, variable: string, ...below: readonly string[]): string {
  const named = environment[variable] ?? '';
  return isAbsolute(named) ? named : join(homeFolder(environment), ...below);
}
