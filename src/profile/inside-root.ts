/** Paths of a copied root file system, looked up as its own processes would. */
import { lstatSync, readlinkSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { errnoOf, explainErrno, usageError, type WinnowError } from '../base/errors.ts';

const MOST_LINKS = 40;

/** The absolute path of a root that a person named. @throws WinnowError E_USAGE where it is no folder */
export function rootFolder(path: string): string {
  const root = resolve(path);
  const refuse = (what: string): WinnowError =>
    usageError(what, 'name the folder that holds the copied root file system: --root DIR', root);
  try {
    if (statSync(root).isDirectory()) return root;
  } catch (error) {
    throw explainErrno(error, (errno) => refuse(`the root cannot be looked up: ${errno}`));
  }
  throw refuse('the root is no folder');
}

function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch (error) {
    // What does not exist is no link: the caller finds out when it opens the whole path.
    if (errnoOf(error) !== undefined) return undefined;
    throw error;
  }
}

/**
 * Where `path`, absolute inside `root` (absolute itself), is on this machine. Symbolic links, absolute ones too, never lead
 * out of `root`. Parts that do not exist stay as they are.
 */
export function insideRoot(root: string, path: string): string {
  const rest = path.split('/').reverse();
  const done: string[] = [];
  let links = 0;
  while (rest.length > 0) {
    const part = rest.pop() ?? '';
    if (part === '' || part === '.') continue;
    if (part === '..') {
      done.pop();
      continue;
    }
    const target = links < MOST_LINKS ? linkTarget(join(root, ...done, part)) : undefined;
    if (target === undefined) {
      done.push(part);
      continue;
    }
    links += 1;
    if (target.startsWith('/')) done.length = 0;
    rest.push(...target.split('/').reverse());
  }
  return join(root, ...done);
}
