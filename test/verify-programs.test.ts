/** Record, build, verify over real programs, through the command line as a person would. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAMS, type RealProgram } from './programs.ts';
import { isThere } from './support/files.ts';
import { winnowOn } from './support/winnow.ts';

let root = '';
beforeAll(() => {
  // Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
  root = mkdtempSync(join(import.meta.dirname, '.programs-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function setUp(program: RealProgram, folder: string): void {
  mkdirSync(folder);
  for (const [name, text] of Object.entries(program.files ?? {})) writeFileSync(join(folder, name), text);
  if (program.setup === undefined) return;
  const done = spawnSync('sh', ['-ec', program.setup], { cwd: folder, encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
}

describe('the image of a real program behaves like the program', () => {
  it('is tried on programs of many kinds', () => {
    expect(PROGRAMS.length).toBeGreaterThanOrEqual(25);
    expect(new Set(PROGRAMS.map((program) => program.name)).size).toBe(PROGRAMS.length);
  });

  for (const [index, program] of PROGRAMS.entries()) {
    const missing = program.needs.filter((need) => !isThere(need));
    const needs = missing.length === 0 ? '' : ` (needs ${missing.join(', ')})`;
    it.skipIf(!process.env.CI && missing.length > 0)(`${program.name}: ${program.kind}${needs}`, () => {
      expect(missing).toEqual([]);
      const name = `program-${index}`;
      const store = join(root, `${name}.store`);
      const original = join(root, `${name}.original`);
      setUp(program, original);
      // Recording may change the folder: verification starts from a copy made before.
      const pristine = join(root, `${name}.pristine`);
      spawnSync('cp', ['-a', original, pristine]);
      const stdin = program.stdin === undefined ? undefined : program.files?.[program.stdin];

      const winnow = winnowOn(store);
      const record = winnow('record', ['--name', name, '--', ...program.argv], {
        cwd: original,
        input: stdin,
      });
      expect(endOf(record), record.stderr).toEqual(program.ends ?? { code: 0 });

      const build = winnow('build', ['--name', name], { cwd: original });
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
    });
  }
});

/** A signal shows as itself, or as 128 + its number where a shell stands between. */
function endOf(done: {
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
