/**
 * Record functions, rewrite, verify over real programs. Each takes some seconds: programs run under breakpoints, all
 * their modules are analysed and rewritten, and then they run twice more.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAMS } from './programs.ts';
import { isThere } from './support/files.ts';
import { endOf, expectSameFromImage, setUp } from './support/real-program.ts';
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

/** On a busy machine the analysis of numpy's libraries (60 MB of code) takes most of a minute. */
const LONGEST_MS = 180_000;

let root = '';
beforeAll(() => {
  // Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
  root = mkdtempSync(join(import.meta.dirname, '.programs-'));
  // Analyses are shared among the programs, and not with whoever runs the tests.
  process.env.XDG_CACHE_HOME = join(root, 'cache');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('a program with rewritten modules behaves like the program', () => {
  for (const [index, name] of NAMES.entries()) {
    const program = PROGRAMS.find((one) => one.name === name);
    const missing = program?.needs.filter((need) => !isThere(need)) ?? [];
    const needs = missing.length === 0 ? '' : ` (needs ${missing.join(', ')})`;
    it.skipIf(!process.env.CI && missing.length > 0)(
      `${name}${needs}`,
      () => {
        if (program === undefined) throw new Error(`there is no program ${name}`);
        expect(missing).toEqual([]);
        const image = `select-${index}`;
        const store = expectSameFromImage(program, { root, name: image, record: ['--functions'] });
        const { modules } = shown(store, image);
        expect(modules.map(({ path }) => basename(path))).toContain('libc.so.6');
        for (const { usedPages, stayedPages, figures } of modules) {
          expect(figures.hotPages + stayedPages).toBeLessThan(usedPages);
        }
      },
      LONGEST_MS,
    );
  }
});

/**
 * What a rewriting leaves in the original's code is code that nothing was recorded of, or that must not move. So
 * with all of that denied, the same command does without.
 */
describe('a program whose unused code cannot be executed', () => {
  // None whose threads wait for each other: where they do is another place each time.
  for (const [index, name] of ['git log', 'C++ exceptions', 'sqlite3', 'openssl'].entries()) {
    const program = PROGRAMS.find((one) => one.name === name);
    const isMissing = program?.needs.some((need) => !isThere(need)) === true;
    it.skipIf(!process.env.CI && isMissing)(`runs as it was recorded: ${name}`, () => {
      if (program === undefined) throw new Error(`there is no program ${name}`);
      const store = join(root, `denied-${index}.store`);
      const missed = join(root, `denied-${index}.json`);
      const on = (command: string, ...words: readonly string[]): void => {
        const cwd = join(root, `denied-${index}`);
        rmSync(cwd, { recursive: true, force: true });
        setUp(program, cwd);
        const input = program.stdin === undefined ? undefined : program.files?.[program.stdin];
        const ran = winnowOn(store)(command, ['--name', 'denied', ...words], { cwd, input });
        expect(endOf(ran), ran.stderr).toEqual(program.ends ?? { code: 0 });
      };
      on('record', '--functions', '--', ...program.argv);
      on('build', '--only', 'select', '--cold', 'deny');
      on('record', '--from-misses', '--json', missed, '--', ...program.argv);
      const { misses } = JSON.parse(readFileSync(missed, 'utf8'));
      expect(misses.filter(({ kept }: { readonly kept?: string }) => kept === undefined)).toEqual([]);
    });
  }
});

interface Shown {
  readonly modules: readonly {
    readonly path: string;
    readonly usedPages: number;
    readonly stayedPages: number;
    readonly figures: { readonly hotPages: number };
  }[];
}

function shown(store: string, name: string): Shown {
  const image = winnowOn(store)('image show', ['--json', name]);
  expect(image.status, image.stderr).toBe(0);
  return JSON.parse(image.stdout).manifest.select;
}
