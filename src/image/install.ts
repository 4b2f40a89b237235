/** Puts an image's launcher on PATH as an ordinary command: a symbolic link, nothing more. */
import { randomBytes } from 'node:crypto';
import { lstatSync, readlinkSync, renameSync, symlinkSync } from 'node:fs';
import { basename, delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { errnoOf, usageError, WinnowError } from '../base/errors.ts';
import { makeFolders, removeTemporary } from '../profile/store-files.ts';
import { installFailure } from './image-errors.ts';
import type { Image } from './images.ts';

export interface InstallOptions {
  /** The folder for the link; made if need be. */
  readonly dir: string;
  /** Name of the command. */
  readonly as: string;
  /** Start the program with the recorded arguments; those of the caller follow. */
  readonly withArguments: boolean;
  /** Replace a file that is not a link to an image. */
  readonly force: boolean;
}

export interface Installed {
  readonly path: string;
  readonly target: string;
}

/** The recorded program's name, or the image's where the recorded arguments belong to it. */
export function defaultCommandName(image: Image, withArguments: boolean): string {
  return withArguments
    ? image.name
    : basename(image.manifest.command.argv[0] ?? image.manifest.command.program);
}

/** Links of earlier installations lead to `…/images/NAME/launch` or `…/command`. */
function isOurs(path: string): boolean {
  const target = resolve(dirname(path), readlinkSync(path));
  const parts = target.split('/');
  return parts.at(-3) === 'images' && ['launch', 'command'].includes(parts.at(-1) ?? '');
}

function checkFree(path: string, force: boolean): void {
  let stat: ReturnType<typeof lstatSync>;
  try {
    stat = lstatSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  if (stat?.isSymbolicLink() === true && isOurs(path)) return;
  if (force && stat?.isDirectory() !== true) return;
  throw new WinnowError({
    code: 'E_INSTALL_EXISTS',
    kind: 'environment',
    what: 'there is something here that is not a link to an image',
    where: path,
    next: 'choose another name (--as NAME) or folder (--dir DIR), or replace it with --force',
  });
}

function checkName(name: string): void {
  if (name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0')) return;
  throw usageError(
    `${JSON.stringify(name)} cannot be the name of a command`,
    'give a name without slashes: --as NAME',
  );
}

/** @throws WinnowError E_INSTALL_EXISTS, E_INSTALL_WRITE, E_USAGE; what was there before is unchanged then. */
export function installImage(image: Image, options: InstallOptions): Installed {
  checkName(options.as);
  const dir = resolve(options.dir);
  const path = join(dir, options.as);
  const target = join(resolve(image.path), options.withArguments ? 'command' : 'launch');
  const temporary = join(dir, `.${options.as}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    makeFolders(dir);
    checkFree(path, options.force);
    symlinkSync(target, temporary);
    renameSync(temporary, path);
  } catch (error) {
    throw installFailure(error, path);
  } finally {
    removeTemporary(temporary);
  }
  return { path, target };
}

/** How a shell would find the command `name`: whether `dir` is on PATH, and what stands before it there. */
export function onPath(
  dir: string,
  name: string,
  path: string,
): { readonly found: boolean; readonly before?: string } {
  const folders = path
    .split(delimiter)
    .filter(isAbsolute)
    .map((folder) => resolve(folder));
  const at = folders.indexOf(resolve(dir));
  const exists = (folder: string): boolean =>
    lstatSync(join(folder, name), { throwIfNoEntry: false }) !== undefined;
  const before = folders.slice(0, Math.max(at, 0)).find(exists);
  return before === undefined ? { found: at >= 0 } : { found: at >= 0, before: join(before, name) };
}
