/** Uses winnow as a person would: records programs, and reads what was recorded. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import type { Profile, Run } from '../../src/profile/model.ts';
import { openStore } from '../../src/profile/store.ts';
import { type BenchProgram, ENVIRONMENT, findProgram, SCRATCH } from './programs.ts';

const ABOVE = join(import.meta.dirname, '..', '..');
/** The repository's folder: this file runs as dist/bench/support/winnow.js, and in tests where it stands. */
export const REPOSITORY = existsSync(join(ABOVE, 'package.json')) ? ABOVE : dirname(ABOVE);

/** A program with its fixtures; the name of its profile and image is `program.name`. */
export interface Prepared {
  readonly program: BenchProgram;
  /** Absolute path. */
  readonly file: string;
  readonly argv: readonly string[];
  /** Its current folder: the same path on the host and in the mount. */
  readonly folder: string;
}

export interface Recorded extends Prepared {
  readonly profile: Profile;
}

/** Makes a program's fixtures under `fixtures`. @throws WinnowError when it is not installed */
export function prepare(program: BenchProgram, fixtures: string): Prepared {
  const folder = join(fixtures, program.name);
  mkdirSync(folder, { recursive: true });
  program.setUp?.(folder);
  return { program, folder, file: findProgram(program.program), argv: [program.program, ...program.args] };
}

/** The programs' scratch folder on the host, fresh. */
export function freshHostScratch(): void {
  rmSync(SCRATCH, { recursive: true, force: true });
  mkdirSync(join(SCRATCH, 'home'), { recursive: true });
}

/** Records one run into `store` and returns it. @throws WinnowError `E_BENCH_RECORD` */
export function recordOnce(prepared: Prepared, store: string, options: readonly string[] = []): Run {
  freshHostScratch();
  const words = [
    'record',
    ...options,
    '--store',
    store,
    '--name',
    prepared.program.name,
    '--',
    prepared.file,
    ...prepared.program.args,
  ];
  const done = spawnSync(join(REPOSITORY, 'bin', 'winnow'), words, {
    cwd: prepared.folder,
    env: { ...ENVIRONMENT },
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: 120_000,
  });
  if (done.status !== 0) throw recordError(prepared, done.stderr || String(done.error ?? done.signal));
  const run = openStore({ store }).read(prepared.program.name).runs[0];
  if (run === undefined) throw recordError(prepared, 'the profile has no run');
  return run;
}

/** Records `times` runs, and one that sees functions. @throws WinnowError `E_BENCH_RECORD` */
export function record(prepared: Prepared, store: string, times: number): Recorded {
  for (let i = 0; i < times; i += 1) recordOnce(prepared, store, ['--thorough']);
  recordOnce(prepared, store, ['--functions']);
  return { ...prepared, profile: openStore({ store }).read(prepared.program.name) };
}

function recordError(prepared: Prepared, text: string): WinnowError {
  return new WinnowError({
    code: 'E_BENCH_RECORD',
    kind: 'environment',
    what: `the program could not be recorded: ${text.trim().split('\n').slice(-3).join(' | ')}`,
    where: prepared.argv.join(' '),
    next: 'run `winnow doctor`, or leave the program out with --programs',
  });
}
