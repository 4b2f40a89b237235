/**
 * What a start waits for before its program runs: paths that the launcher and the kernel look up themselves, and the
 * dynamic loader.
 *
 * Problem: no recording has these. The kernel opens the loader that a program names by no system call, and what the
 * launcher shows in place of originals is looked up by the launcher. Each path is several reads, one after the
 * other (folder, inode, folder, inode), and nothing else can go on meanwhile.
 * Example: `python3` names /lib64/ld-linux-x86-64.so.2, which is two links and five folders; its image has 29 modules,
 * and the launcher compares each original and each copy with what it knows of them.
 */
import { errnoOf } from '../base/errors.ts';
import { probeProgram } from '../elf/probe.ts';
import type { Replacement } from './model.ts';

export interface Urgent {
  /** To be looked up before all else. */
  readonly paths: readonly string[];
  /** Planned files to be fetched before all others, by their index. */
  readonly files: readonly number[];
}

/** A script's interpreter may be a script, and so on: the kernel follows as far as this. */
const MOST_INTERPRETERS = 5;

interface Places {
  /** Paths of the planned files as they were recorded. */
  readonly files: readonly string[];
  /** Where links lead, as a path in the programs' root. */
  readonly resolve: (path: string) => string | undefined;
  /** Where a path of that root is found. */
  readonly here: (path: string) => string;
  /** What stands for files of the profile. */
  readonly replacements?: ReadonlyMap<string, Replacement> | undefined;
}

/** @param program its path in the programs' root. */
export function urgentWork(program: string, { files, resolve, here, replacements }: Places): Urgent {
  const loaders = interpreters(program, here);
  const shown = [...(replacements ?? [])].flatMap(([path, { path: copy, companions = [] }]) =>
    copy === path ? [] : [path, copy, ...companions.map((whole) => whole.path)],
  );
  const loaderFiles = new Set(loaders.map((path) => resolve(path) ?? path));
  return {
    paths: [...new Set([...loaders, ...shown])],
    files: files.flatMap((path, index) => (loaderFiles.has(path) ? [index] : [])),
  };
}

/** What the kernel opens to execute a file: the interpreters of scripts, the loader of a program. */
function interpreters(program: string, here: (path: string) => string): string[] {
  const found: string[] = [];
  let path: string | undefined = program;
  while (path !== undefined && found.length < MOST_INTERPRETERS) {
    path = interpreterOf(here(path));
    if (path !== undefined) found.push(path);
  }
  return found;
}

function interpreterOf(file: string): string | undefined {
  try {
    const kind = probeProgram(file);
    if (kind.kind === 'script') return kind.interpreter;
    return kind.kind === 'elf' ? kind.interp : undefined;
  } catch (error) {
    // It is gone, or may not be read: the start tells.
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
