/** The documents against the sources: error codes, commands, links, and the packages that tests need. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PROGRAMS } from './programs.ts';

const ROOT = join(import.meta.dirname, '..');

function filesBelow(folder: string, wanted: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name.startsWith('.') ? [] : filesBelow(path, wanted);
    return wanted.test(entry.name) ? [path] : [];
  });
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const distinct = (found: Iterable<string>): string[] => [...new Set(found)].sort();

/** Codes in quotes, so that names of constants (`PTRACE_EVENT_…`) are none. */
function codesIn(sources: readonly string[], prefix: string): string[] {
  const code = new RegExp(`['"\`](?:winnow: )?(${prefix}_[A-Z0-9_]+)[:'"\`]`, 'g');
  return distinct(sources.flatMap((path) => [...read(path).matchAll(code)].map((match) => match[1] ?? '')));
}

const SOURCES = ['bin/winnow', ...filesBelow('src', /(?<!\.test)\.ts$/), ...filesBelow('runtime', /\.[ch]$/)];

function codesDocumented(prefix: string): string[] {
  const rows = read('docs/errors.md').matchAll(new RegExp(`^\\| \`(${prefix}_[A-Z0-9_]+)\` \\|`, 'gm'));
  return [...rows].map((match) => match[1] ?? '');
}

describe('docs/errors.md', () => {
  for (const [prefix, what] of [
    ['E', 'error'],
    ['N', 'note'],
  ] as const) {
    it(`lists every ${what} of the sources once, in order, and no other`, () => {
      const documented = codesDocumented(prefix);
      expect(documented.length).toBeGreaterThan(5);
      expect(documented).toEqual(codesIn(SOURCES, prefix).filter((code) => !code.endsWith('_')));
    });
  }

  it('knows the codes that commands’ pages speak of', () => {
    const known = new Set(codesDocumented('E'));
    const pages = filesBelow('docs', /\.md$/);
    const unknown = pages.flatMap((page) =>
      [...read(page).matchAll(/`(E_[A-Z0-9_]+)`/g)]
        .map((match) => match[1] ?? '')
        .filter((code) => !known.has(code))
        .map((code) => `${page}: ${code}`),
    );
    expect(unknown).toEqual([]);
  });
});

describe('every command', () => {
  const help = spawnSync(join(ROOT, 'bin', 'winnow'), ['--help'], { encoding: 'utf8' }).stdout;
  const names = [...help.slice(help.indexOf('Commands:')).matchAll(/^ {2}([a-z]+)/gm)]
    .map((match) => match[1] ?? '')
    .filter((name) => name !== 'help');

  it('is in the help', () => {
    expect(names.length).toBeGreaterThan(8);
  });

  it('has a page that begins with its name', () => {
    for (const name of names) expect(read(`docs/commands/${name}.md`)).toMatch(`# winnow ${name}\n`);
  });

  it('is in the README, with a link to its page', () => {
    const readme = read('README.md');
    for (const name of names) expect(readme).toContain(`(docs/commands/${name}.md)`);
  });

  /** Options of a command, and of the commands below it. */
  const optionsOf = (...words: readonly string[]): string[] => {
    const text = spawnSync(join(ROOT, 'bin', 'winnow'), [...words, '--help'], { encoding: 'utf8' }).stdout;
    const own = [...text.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)].map((match) => match[1] ?? '');
    const below = [...(text.split('\nCommands:\n')[1] ?? '').matchAll(/^ {2}([a-z]+)/gm)]
      .map((match) => match[1] ?? '')
      .filter((name) => name !== 'help');
    return distinct([...own, ...below.flatMap((name) => optionsOf(...words, name))]);
  };

  it.each(names)('%s: its page tells each option of its help, and no others', (name) => {
    const page = read(`docs/commands/${name}.md`);
    const options = optionsOf(name).filter((option) => option !== '--help');
    expect(options.filter((option) => !page.includes(option))).toEqual([]);
    const told = [...page.matchAll(/^\| `(--[a-z-]+)/gm)].map((match) => match[1] ?? '');
    expect(told.filter((option) => !options.includes(option))).toEqual([]);
  });

  it('has no page too many', () => {
    const pages = readdirSync(join(ROOT, 'docs', 'commands')).map((file) => file.replace(/\.md$/, ''));
    expect(pages.sort()).toEqual([...names].sort());
  });
});

/** The anchor that a heading gets. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{Letter}\p{Number} _-]/gu, '')
    .replaceAll(' ', '-');

describe('docs/design.md', () => {
  it('speaks of files that are there', () => {
    const folders = [
      'src',
      'runtime',
      'test',
      'bench',
      'scripts',
      ...filesBelow('src', /\.ts$/).map(dirname),
    ];
    // An image's own files (`plan.bin`, `audit.so`) and placeholders end otherwise.
    const named = [...read('docs/design.md').matchAll(/`([\w./-]+\.(?:ts|c|h|mjs|ld))`/g)];
    const paths = distinct(named.map((match) => match[1] ?? ''));
    expect(paths.length).toBeGreaterThan(50);
    const isThere = (path: string): boolean =>
      existsSync(join(ROOT, path)) || folders.some((folder) => existsSync(join(ROOT, folder, path)));
    expect(paths.filter((path) => !isThere(path))).toEqual([]);
  });
});

describe('links', () => {
  const pages = ['README.md', ...filesBelow('docs', /\.md$/)];

  it('lead to files and headings that are there', () => {
    const broken = pages.flatMap((page) => {
      const links = read(page).matchAll(/\]\(([^)\s]+)\)/g);
      return [...links]
        .map((match) => match[1] ?? '')
        .filter((target) => !/^[a-z]+:/.test(target) && !leadsSomewhere(page, target))
        .map((target) => `${page}: ${target}`);
    });
    expect(broken).toEqual([]);
  });

  it('are there where a page of docs is spoken of', () => {
    const missing = [...pages, ...SOURCES].flatMap((page) =>
      [...read(page).matchAll(/\bdocs\/[\w/-]+\.md\b/g)]
        .map(([path]) => path)
        .filter((path) => !existsSync(join(ROOT, path)))
        .map((path) => `${page}: ${path}`),
    );
    expect(missing).toEqual([]);
  });
});

function leadsSomewhere(page: string, target: string): boolean {
  const [file = '', anchor] = target.split('#');
  const path = file === '' ? page : relative(ROOT, join(ROOT, dirname(page), file));
  if (!existsSync(join(ROOT, path))) return false;
  if (anchor === undefined) return true;
  return [...read(path).matchAll(/^#+ (.+)$/gm)].some((match) => anchorOf(match[1] ?? '') === anchor);
}

describe('scripts/packages.mjs', () => {
  it('names everything that the tested programs need', () => {
    const packages = read('scripts/packages.mjs');
    // Debian's base system and Node are there.
    const given = new Set(['bash', 'node', 'sh']);
    const needed = distinct(PROGRAMS.flatMap(({ needs }) => needs)).filter((need) => !given.has(need));
    expect(needed.filter((need) => !packages.includes(`'${need}'`))).toEqual([]);
  });
});
