/**
 * What a recording says for share: which programs were executed, and which files were mapped. It needs no more than
 * what every recording holds.
 */
import { realpathSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { Profile } from '../profile/model.ts';
import type { ProgramToShare } from './built.ts';

/** Programs of the recorded trees, links resolved where they lead somewhere; the command's own first. Paths in `root`. */
export function programsOf({ runs }: Profile, root?: string): ProgramToShare[] {
  const resolved = new Map<string, string>();
  const resolve = (path: string): string => {
    const known = resolved.get(path) ?? resolvedIn(root, path);
    resolved.set(path, known);
    return known;
  };
  const found = new Map<string, Map<string | undefined, number>>();
  for (const { command, processes } of runs) {
    const before = new Set(found.keys());
    for (const path of [command.program, ...processes.map(({ program }) => program)]) {
      if (!found.has(resolve(path))) found.set(resolve(path), new Map());
    }
    // What a program was executed with in older runs may have gone out of use.
    for (const { program, libraryPath } of processes) {
      const path = resolve(program);
      const values = found.get(path);
      if (!before.has(path)) values?.set(libraryPath, (values.get(libraryPath) ?? 0) + 1);
    }
  }
  return [...found].map(([path, values]) => {
    const libraryPath = mostFrequent(values);
    return { path, ...(libraryPath === undefined ? {} : { libraryPath }) };
  });
}

/** Of equally many, what came first. */
function mostFrequent(values: ReadonlyMap<string | undefined, number>): string | undefined {
  const most = Math.max(...values.values());
  return [...values].find(([, times]) => times === most)?.[0];
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
