/** Paths of a copied root file system, looked up as its own processes would. */
import { lstatSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';

const MOST_LINKS = 40;

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
 * Where `path`, absolute inside `root`, is on this machine. Symbolic links, absolute ones too, never lead
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
