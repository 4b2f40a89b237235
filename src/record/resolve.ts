/** From what a person typed to the file that will be executed. */
import { accessSync, constants } from 'node:fs';
import { delimiter } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { requireRunnable } from '../elf/probe.ts';
import { statOrNothing } from './stat.ts';

/**
 * The absolute path of a program: a name without a slash is searched in PATH, as execvp does.
 *
 * @throws WinnowError E_PROGRAM_NOT_FOUND (127), E_PROGRAM_NOT_EXECUTABLE, E_PROGRAM_FORMAT (126) and
 * the errors for machines that winnow does not know.
 */
export function resolveProgram(name: string, cwd: string, path: string | undefined): string {
  const found = name.includes('/') ? absolute(cwd, name) : searchPath(name, cwd, path ?? '/usr/bin:/bin');
  if (found === undefined) {
    throw new WinnowError({
      code: 'E_PROGRAM_NOT_FOUND',
      kind: 'input',
      exitCode: 127,
      what: `no program of the name '${name}' is on PATH`,
      where: path ?? '/usr/bin:/bin',
      next: 'check the spelling, install it, or give its path',
    });
  }
  requireRunnable(found);
  return found;
}

/** Not path.resolve: `link/../x` is not `x` where `link` is a symbolic link. */
function absolute(folder: string, path: string): string {
  if (path === '') return folder;
  if (path.startsWith('/')) return path;
  const plain = path.replace(/^(\.\/+)+/, '');
  return folder.endsWith('/') ? `${folder}${plain}` : `${folder}/${plain}`;
}

function searchPath(name: string, cwd: string, path: string): string | undefined {
  let unusable: string | undefined;
  for (const folder of path.split(delimiter)) {
    const candidate = absolute(absolute(cwd, folder), name);
    if (statOrNothing(candidate)?.isFile() !== true) continue;
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      unusable ??= candidate;
    }
  }
  return unusable;
}
