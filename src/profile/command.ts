/** The command as it was typed, and the program that the shell would have started for it. */
import { accessSync, constants, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import type { Command } from './model.ts';

const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return isFile(path);
  } catch {
    return false;
  }
}

function quietly(test: (path: string) => boolean, path: string): boolean {
  try {
    return test(path);
  } catch {
    // A folder of PATH that cannot be searched is as good as one that is not there.
    return false;
  }
}

/** `name` in folder `cwd`, without touching `..`: behind a symbolic link it means another folder. */
const inFolder = (cwd: string, name: string): string =>
  `${cwd === '/' ? '' : cwd}/${name.replace(/^(?:\.\/+)+/, '')}`;

/**
 * Finds the program of `argv` as execvp does: a name with a slash is taken from `cwd`, others from the
 * folders of PATH, an empty one being `cwd`. Whether it can be started is not checked.
 * @throws WinnowError E_PROGRAM_NOT_FOUND (exit code 127), E_NO_COMMAND where argv is empty.
 */
export function resolveCommand(
  argv: readonly string[],
  cwd: string = process.cwd(),
  searchPath: string = process.env.PATH ?? DEFAULT_PATH,
): Command {
  const name = argv[0];
  if (name === undefined || name === '') {
    throw new WinnowError({
      code: 'E_NO_COMMAND',
      kind: 'usage',
      what: 'no command is given',
      next: 'put it behind two dashes: -- CMD ARGUMENTS',
    });
  }
  if (name.includes('/')) return { program: isAbsolute(name) ? name : inFolder(cwd, name), argv, cwd };
  const candidates = searchPath.split(':').map((folder) => {
    const base = isAbsolute(folder) ? folder : folder === '' ? cwd : inFolder(cwd, folder);
    return join(base, name);
  });
  const program = candidates.find(isExecutable) ?? candidates.find((candidate) => quietly(isFile, candidate));
  if (program !== undefined) return { program, argv, cwd };
  throw new WinnowError({
    code: 'E_PROGRAM_NOT_FOUND',
    kind: 'input',
    what: 'there is no such program on PATH',
    where: name,
    next: 'check the spelling and PATH, or give the path of the program',
    exitCode: 127,
  });
}
