/**
 * Analyses code before the program that runs it is started.
 *
 * Problem: a module is known when it is mapped, and then its program stands and waits; analysis takes a second
 * for 30 MB of code in one thread. Example: PETSc's ex5 maps 212 modules with 27,000 pages of code. Method: what earlier runs
 * mapped will be mapped again; of a command that was never recorded, ask the loader itself which libraries
 * the program and the programs among its arguments need (`mpirun -n 4 ./ex5`). All that is analysed by
 * several threads, and kept. Limits: plugins of a command that was never recorded are met when they
 * are mapped, and analysed then, by a thread that has warmed up.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { probeProgram } from '../elf/probe.ts';
import type { Command, Profile } from '../profile/model.ts';
import { analyseAll } from '../rewrite/analyse-all.ts';
import type { Analyst } from '../rewrite/analyst.ts';
import type { Fd } from '../sys/fds.ts';
import { codeSegments } from './code-file.ts';
import type { Before, EntryFinder } from './entries.ts';

const LIST_MS = 10_000;

/** Paths of files with code that a command will map, as far as that is known before. */
export function likelyModules(
  command: Command,
  env: Readonly<Record<string, string>>,
  profile: Profile | undefined,
): string[] {
  const words = command.argv.slice(1).map((word) => resolve(command.cwd, word));
  const programs = [command.program, ...words].filter(isProgram);
  const recorded = (profile?.runs ?? []).flatMap((run) => run.files.map(({ path }) => path));
  const needed = recorded.length > 0 ? [] : programs.flatMap((program) => neededBy(program, env));
  return distinct([...programs, ...recorded, ...needed]);
}

/** Analyses those that nothing is known of yet. Where that took threads, one stays to be asked for more: the caller closes it. */
export async function analyseAhead(
  paths: readonly string[],
  finder: EntryFinder,
  options: {
    readonly cache: string | undefined;
    /** Called after each module. */
    readonly onProgress?: (done: number, all: number) => void;
  },
): Promise<Analyst | undefined> {
  const unknown = new Map<string, Before>();
  for (const path of paths) {
    withFile(path, (fd, before) => {
      if (codeSegments(fd, Number(before.stat.size)).length === 0) return;
      if (finder.known(fd) === undefined) unknown.set(path, before);
    });
  }
  if (unknown.size === 0) return undefined;
  const { cache, onProgress } = options;
  const { places, analyst } = await analyseAll([...unknown.keys()], {
    ...(cache === undefined ? {} : { cache }),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  for (const [path, before] of unknown) {
    const found = places.get(path);
    if (found !== undefined) withFile(path, (fd) => finder.keep(fd, before, found));
  }
  return analyst;
}

/** Nothing happens where the file cannot be opened any more. */
function withFile(path: string, work: (fd: Fd, before: Before) => void): void {
  try {
    const before = { stat: statSync(path, { bigint: true }), at: Date.now() };
    if (!before.stat.isFile()) return;
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      work(fd, before);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
  }
}

function isProgram(path: string): boolean {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat?.isFile() === true && (stat.mode & 0o111) !== 0 && probeProgram(path).kind === 'elf';
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/** What the program's own loader would load before it starts it; nothing of them is run. */
function neededBy(program: string, env: Readonly<Record<string, string>>): string[] {
  const probed = probeProgram(program);
  if (probed.kind !== 'elf' || probed.interp === undefined) return [];
  const { LD_AUDIT: _audit, LD_DEBUG: _debug, ...rest } = env;
  const { stdout } = spawnSync(probed.interp, ['--list', program], {
    env: rest,
    encoding: 'utf8',
    timeout: LIST_MS,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return [...(stdout ?? '').matchAll(/^\s+(?:.* => )?(\/.*) \(0x[0-9a-f]+\)$/gm)].map(
    (match) => match[1] ?? '',
  );
}

/** One path for each file. */
function distinct(paths: readonly string[]): string[] {
  return [...new Set(paths.flatMap(realPath))];
}

function realPath(path: string): string[] {
  try {
    return [realpathSync.native(path)];
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return [];
  }
}
