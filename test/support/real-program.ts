/** Records, builds and verifies a real program through the command line, as a person would. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { RealProgram } from '../programs.ts';
import { winnowOn } from './winnow.ts';

export interface How {
  /** Folder for all that is made; it must not be temporary, or its files are left out of the profile. */
  readonly root: string;
  /** Of profile, image and folders. */
  readonly name: string;
  /** Options of `winnow record` and `winnow build`. */
  readonly record?: readonly string[];
  readonly build?: readonly string[];
}

/** The libraries of numpy are 60 MB of code. */
const ANALYSED_WITHIN_MS = 50_000;

/** Makes the program's folder with its files. */
export function setUp(program: RealProgram, folder: string): void {
  mkdirSync(folder);
  for (const [name, text] of Object.entries(program.files ?? {})) writeFileSync(join(folder, name), text);
  if (program.setup === undefined) return;
  const done = spawnSync('sh', ['-ec', program.setup], { cwd: folder, encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
}

/** Expects that the program's image behaves like the program. @returns folder of the store. */
export function expectSameFromImage(program: RealProgram, { root, name, ...options }: How): string {
  const store = join(root, `${name}.store`);
  const original = join(root, `${name}.original`);
  setUp(program, original);
  // Recording may change the folder: verification starts from a copy made before.
  const pristine = join(root, `${name}.pristine`);
  spawnSync('cp', ['-a', original, pristine]);
  const stdin = program.stdin === undefined ? undefined : program.files?.[program.stdin];

  const winnow = winnowOn(store);
  const record = winnow('record', [...(options.record ?? []), '--name', name, '--', ...program.argv], {
    cwd: original,
    input: stdin,
    timeout: ANALYSED_WITHIN_MS,
  });
  expect(endOf(record), record.stderr).toEqual(program.ends ?? { code: 0 });

  const build = winnow('build', [...(options.build ?? []), '--name', name], {
    cwd: original,
    timeout: ANALYSED_WITHIN_MS,
  });
  expect(build.status, build.stderr).toBe(0);

  const input = program.stdin === undefined ? [] : ['--stdin', join(pristine, program.stdin)];
  const words = ['--name', name, '--in', pristine, ...input, '--json', '--', ...program.argv];
  const verify = winnow('verify', words, { cwd: original });
  expect(verify.stdout, verify.stderr).not.toBe('');
  const report = JSON.parse(verify.stdout);
  expect(report.differences).toEqual([]);
  expect(report).toMatchObject({ verdict: 'same' });
  expect(verify.status).toBe(0);
  for (const run of report.runs) expect(endOfRun(run.status)).toEqual(program.ends ?? { code: 0 });
  return store;
}

/** A signal shows as itself, or as 128 + its number where a shell stands between. */
export function endOf(done: {
  status: number | null;
  signal: string | null;
}): { code: number } | { signal: number } {
  if (done.signal !== null) return { signal: SIGNALS[done.signal] ?? 0 };
  const code = done.status ?? -1;
  return code > 128 ? { signal: code - 128 } : { code };
}

const SIGNALS: Readonly<Record<string, number>> = { SIGSEGV: 11, SIGKILL: 9, SIGTERM: 15 };

function endOfRun(status: { kind: string; code?: number; signal?: number }) {
  return status.kind === 'killed' ? { signal: status.signal } : { code: status.code };
}
