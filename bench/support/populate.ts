/**
 * Fills a root from lists of paths: every file, the folders on the way and the symbolic links through
 * which it is reached, at the same paths, with their modes, owners and times.
 *
 * Limit: a folder holds only the names that are needed, so a look-up in a big folder (/usr/bin) reads
 * less than on a whole system, for every mode alike.
 */
import { lstatSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { shell } from './sh.ts';

/** Not files of a disk: given to the programs by other means, or private to a run. */
const ELSEWHERE = ['/proc', '/sys', '/dev', '/tmp', '/run'];

const isElsewhere = (path: string): boolean =>
  ELSEWHERE.some((folder) => path === folder || path.startsWith(`${folder}/`));

/** Everything that must exist so that each of `paths` can be looked up; ascending. */
export function closureOf(paths: Iterable<string>): string[] {
  const needed = new Set<string>();
  for (const path of paths) addPath(path, needed, 0);
  return [...needed].sort();
}

function addPath(path: string, needed: Set<string>, links: number): void {
  const parts = path.split('/').filter((part) => part !== '');
  let at = '/';
  for (const [index, part] of parts.entries()) {
    at = resolve(at, part);
    if (isElsewhere(at)) return;
    const stats = lstatSync(at, { throwIfNoEntry: false });
    // A failing look-up: the folders up to here are what it needs.
    if (stats === undefined) return;
    if (stats.isSymbolicLink()) {
      needed.add(at);
      if (links < 40) {
        addPath(join(resolve(dirname(at), readlinkSync(at)), ...parts.slice(index + 1)), needed, links + 1);
      }
      return;
    }
    if (!stats.isFile() && !stats.isDirectory()) return;
    needed.add(at);
    if (stats.isFile()) return;
  }
}

/** Every path under the folders, themselves included. A folder that is missing has none. */
export function everythingUnder(folders: readonly string[]): string[] {
  const found: string[] = [];
  const visit = (path: string): void => {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return;
    found.push(path);
    if (stats.isDirectory()) for (const name of readdirSync(path)) visit(join(path, name));
  };
  for (const folder of folders) visit(folder);
  return found;
}

/** Bytes of the regular files among `paths`, in whole blocks. */
export function bytesOf(paths: readonly string[]): number {
  let sum = 0;
  for (const path of paths)
    sum += Math.ceil((lstatSync(path, { throwIfNoEntry: false })?.size ?? 0) / 4096) * 4096;
  return sum;
}

/** Copies `paths` (a closure) into `root`. */
export function populate(root: string, paths: readonly string[], scratch: string): void {
  const list = join(scratch, 'files.list');
  writeFileSync(
    list,
    paths
      .filter((path) => path !== '/')
      .map((path) => `.${path}\0`)
      .join(''),
  );
  try {
    // The posix format keeps times to the nanosecond: a file's identity has them.
    shell(
      'tar -C / --format=posix --no-recursion --null --files-from="$1" -cf - | tar -C "$2" --same-owner -xpf -',
      list,
      root,
    );
  } finally {
    rmSync(list, { force: true });
  }
}
