/**
 * What a recording says for share: which programs were executed, and which files were mapped. It needs no more than
 * what every recording holds.
 */
import { realpathSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { Profile } from '../profile/model.ts';

/** Programs of the recorded trees, links resolved where they lead somewhere; the command's own first. Paths in `root`. */
export function programsOf({ runs }: Profile, root?: string): string[] {
  const paths = runs.flatMap(({ command, processes }) => [
    command.program,
    ...processes.map(({ program }) => program),
  ]);
  return [...new Set(paths.map((path) => resolvedIn(root, path)))];
}

/** Files that any run saw mapped. */
export function mappedFiles({ runs }: Profile): string[] {
  const found = new Set<string>();
  for (const { files, processes } of runs)
    for (const { pages } of processes)
      for (const { file, how } of pages) {
        const path = files[file]?.path;
        if (how === 'mapped' && path !== undefined) found.add(path);
      }
  return [...found];
}

/** @param root absolute; undefined: this machine's. */
export function resolvedIn(root: string | undefined, path: string): string {
  if (root !== undefined) return insideRoot(root, path).slice(root === '/' ? 0 : root.length);
  try {
    return realpathSync.native(path);
  } catch (error) {
    if (errnoOf(error) !== undefined) return path;
    throw error;
  }
}
