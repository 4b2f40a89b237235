/**
 * Programs whose modules have every function copied, used or not, behave as before: output, exit code, files.
 * Some seconds each: all their modules are analysed and rewritten whole, and both they and their originals run
 * traced. `bench/all-cloned-programs.ts` takes more of them.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAMS, type RealProgram } from './programs.ts';
import { isThere } from './support/files.ts';
import { expectSameFromImage } from './support/real-program.ts';
import { winnowOn } from './support/winnow.ts';

const fixture = (name: string): string =>
  readFileSync(join(import.meta.dirname, 'fixtures', 'all-cloned', name), 'utf8');

const core = (cc: string): RealProgram => ({
  name: `core, by ${cc}`,
  kind: 'setjmp, signals, jump tables, vfork, cancelled threads, TLS, IFUNC, dlopen and dlclose',
  argv: ['./core', './plugin.so'],
  needs: [cc],
  files: { 'core.c': fixture('core.c'), 'plugin.c': fixture('plugin.c') },
  setup: `${cc} -O2 -pthread -o core core.c -ldl; ${cc} -O2 -shared -fPIC -o plugin.so plugin.c`,
  ends: { code: 3 },
});

const OWN: readonly RealProgram[] = [
  core('gcc'),
  core('musl-gcc'),
  {
    name: 'unwinding',
    kind: 'exceptions through copies and across threads, cancelled threads, coroutines',
    argv: ['./unwinding'],
    needs: ['g++'],
    files: { 'unwinding.cc': fixture('unwinding.cc') },
    setup: 'g++ -O2 -pthread -o unwinding unwinding.cc',
  },
];
const NAMES = ['git status', 'python3 threads', 'perl', 'sqlite3', 'openssl'];

let root = '';
beforeAll(() => {
  // Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
  root = mkdtempSync(join(import.meta.dirname, '.programs-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('a program of copies behaves like the program', () => {
  const programs = [...OWN, ...PROGRAMS.filter(({ name }) => NAMES.includes(name))];
  it('is tried on all of them', () => expect(programs.length).toBe(OWN.length + NAMES.length));

  for (const [index, program] of programs.entries()) {
    const missing = program.needs.filter((need) => !isThere(need));
    const needs = missing.length === 0 ? '' : ` (needs ${missing.join(', ')})`;
    it.skipIf(!process.env.CI && missing.length > 0)(`${program.name}${needs}`, () => {
      expect(missing).toEqual([]);
      const name = `copies-${index}`;
      const how = { root, name, record: ['--functions'], build: ['--only', 'select', '--all'] };
      const store = expectSameFromImage(program, how);
      const report = winnowOn(store)('report', ['--functions', '--json', name]);
      expect(JSON.parse(report.stdout).totals.rewrittenModules).toBeGreaterThan(0);
    });
  }
});
