/**
 * What a recording says for share: which programs were executed, and which files were mapped. It needs no more than
 * what every recording holds.
 */
import { realpathSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import type { Profile } from '../profile/model.ts';

/** Programs of the recorded trees, links resolved where they lead somewhere; the command's own first. */
export function programsOf({ runs }: Profile): string[] {
  const paths = runs.flatMap(({ command, processes }) => [
    command.program,
    ...processes.map(({ program }) => program),
  ]);
  return [...new Set(paths.map(resolved))];
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

function resolved(path: string): string {
  try {
    return realpathSync.native(path);
  } catch (error) {
    if (errnoOf(error) !== undefined) return path;
    throw error;
  }
}
