/**
 * Record functions, rewrite, verify over real programs. Each takes some seconds: programs run under breakpoints, all
 * their modules are analysed and rewritten, and then they run twice more.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAMS } from './programs.ts';
import { isThere } from './support/files.ts';
import { expectSameFromImage } from './support/real-program.ts';
import { winnowOn } from './support/winnow.ts';

const NAMES = [
  'git status',
  'gcc and run',
  'C++ exceptions',
  'python3 numpy',
  'perl',
  'bash pipelines',
  'sqlite3',
  'openssl',
  'threads',
  'dlopen',
  'forks',
];

let root = '';
beforeAll(() => {
  // Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
  root = mkdtempSync(join(import.meta.dirname, '.programs-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('a program with rewritten modules behaves like the program', () => {
  for (const [index, name] of NAMES.entries()) {
    const program = PROGRAMS.find((one) => one.name === name);
    const missing = program?.needs.filter((need) => !isThere(need)) ?? [];
    const needs = missing.length === 0 ? '' : ` (needs ${missing.join(', ')})`;
    it.skipIf(!process.env.CI && missing.length > 0)(`${name}${needs}`, () => {
      if (program === undefined) throw new Error(`there is no program ${name}`);
      expect(missing).toEqual([]);
      const image = `select-${index}`;
      const store = expectSameFromImage(program, { root, name: image, record: ['--functions'] });
      const { totals, modules } = shown(store, image);
      // libc at least; and what is rewritten takes less room than its used code did.
      expect(totals.rewrittenModules).toBeGreaterThan(0);
      expect(modules.find(({ path }) => path.endsWith('/libc.so.6'))?.kept).toBe(undefined);
      expect(totals.neededPages).toBeLessThan(totals.usedPages ?? 0);
    });
  }
});

interface Figures {
  readonly totals: Readonly<Record<string, number>>;
  readonly modules: readonly { readonly path: string; readonly kept?: string }[];
}

function shown(store: string, name: string): Figures {
  const report = winnowOn(store)('report', ['--functions', '--json', name]);
  expect(report.status, report.stderr).toBe(0);
  return JSON.parse(report.stdout);
}
