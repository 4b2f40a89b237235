/** Images whose unused code is denied or stored: what a program that comes to such code has of it. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from './modules-scene.ts';
import { codeOf, type Ran, winnowOn } from './support/winnow.ts';

const isRoot = process.geteuid?.() === 0;
// Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
const folder = mkdtempSync(join(import.meta.dirname, '.programs-cold-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const program = join(folder, 'cold');
const library = join(folder, 'libcold.so');
const image = join(folder, 'store', 'images', 'cold');
const environment = { ...process.env, XDG_CACHE_HOME: join(folder, 'cache') };
const winnow = (command: string, ...words: readonly string[]): Ran =>
  winnowOn(join(folder, 'store'))(command, words, { cwd: folder, env: environment });

function build(...words: readonly string[]): void {
  const built = winnow('build', '--name', 'cold', '--only', 'select', ...words);
  expect(built.status, built.stderr).toBe(0);
}

/** What the program says and how it ends, from the image's launcher or plainly. */
function ends(show: string | undefined, words: readonly string[], front: readonly string[] = []) {
  const [file = '', ...args] = [...front, show === undefined ? program : join(image, 'launch'), ...words];
  const env = { ...environment, ...(show === undefined ? {} : { WINNOW_SHOW: show }) };
  const { stdout, stderr, status, signal } = spawnSync(file, args, { encoding: 'utf8', env });
  return { stdout, stderr, status, signal };
}

beforeAll(() => {
  compile(library, 'cold-library.c', '-shared', '-fPIC');
  compile(program, 'cold.c', '-pthread', library);
  const recorded = winnow('record', '--functions', '--name', 'cold', '--', program);
  expect(recorded.status, recorded.stderr).toBe(0);
});

const WAYS = [['call'], ['threads'], ['forks'], ['handlers'], ['waits'], ['blocked'], ['faults'], ['stacks']];
const DEATHS = [['die'], ['die-blocked']];
const INHERITED = ['--block-signal=SEGV', '--ignore-signal=SEGV'];

describe.each([
  ['store', ['--cold', 'store'], ['audit']],
  ['deny, logged', ['--cold', 'deny', '--on-miss', 'log'], isRoot ? ['audit', 'mounts'] : ['audit']],
])('winnow build --cold %s', (_, words, shows) => {
  beforeAll(() => build(...words));

  describe.each(shows)('shown by %s', (show) => {
    it.each([...WAYS, WAYS.flat()])('runs %s as before', (...way) => {
      expect(ends(show, way)).toEqual(ends(undefined, way));
    });

    it.each(DEATHS)('dies as before: %s', (way) => {
      expect(ends(show, [way])).toEqual({ stdout: '', stderr: '', status: null, signal: 'SIGSEGV' });
    });

    it('hands down and takes over what is done with SIGSEGV', () => {
      const inherited = ends(show, ['exec']);
      expect(inherited).toEqual(ends(undefined, ['exec']));
      expect(inherited.stdout).toContain('ignored 1');
      const under = (option: string) => ends(show, ['signals', 'call'], ['env', option]);
      for (const option of INHERITED)
        expect(under(option)).toEqual(ends(undefined, ['signals', 'call'], ['env', option]));
      expect(under(INHERITED[0] ?? '').stdout).toContain('default 1');
      expect(under(INHERITED[1] ?? '').stdout).toContain('ignored 0');
    });
  });
});

describe('winnow build --cold store', () => {
  beforeAll(() => build('--cold', 'store'));
  const copy = (): string =>
    join(image, readdirSync(image).find((name) => name.endsWith('libcold.so')) ?? '');

  it('leaves holes where the code was, and never mounts such modules', () => {
    const { size, blocks } = statSync(copy());
    expect(blocks * 512).toBeLessThan(size - 65_536);
    expect(statSync(`${copy()}.cold`).size).toBeLessThan(8192);
    expect(ends('mounts', ['call'])).toEqual(ends(undefined, ['call']));
    expect(codeOf(winnow('build', '--name', 'cold', '--cold', 'store', '--show', 'mounts'))).toBe('E_USAGE');
    expect(codeOf(winnow('build', '--name', 'cold', '--cold', 'file', '--on-miss', 'log'))).toBe('E_USAGE');
  });

  it('shows the original where the store is missing or cut off', () => {
    const store = `${copy()}.cold`;
    const bytes = readFileSync(store);
    truncateSync(store, bytes.length - 1);
    expect(ends('audit', ['call'])).toEqual(ends(undefined, ['call']));
    rmSync(store);
    expect(ends('audit', ['call'])).toEqual(ends(undefined, ['call']));
    writeFileSync(store, bytes, { mode: 0o755 });
    expect(ends('audit', ['call'])).toEqual(ends(undefined, ['call']));
  });

  it('names a store that is damaged, and ends the program, where its code is come to', () => {
    const store = `${copy()}.cold`;
    const bytes = readFileSync(store);
    const damaged = Buffer.from(bytes);
    for (let at = bytes.length - 400; at < bytes.length; at += 7) damaged[at] = (damaged[at] ?? 0) ^ 1;
    writeFileSync(store, damaged);
    expect(ends('audit', [])).toEqual(ends(undefined, []));
    const { signal, stderr } = ends('audit', ['call']);
    expect([signal, stderr.slice(0, 22)]).toEqual(['SIGABRT', 'winnow: E_COLD_STORE: ']);
    expect(stderr).toContain('libcold.so.cold');
    writeFileSync(store, bytes);
  });
});

describe('winnow build --cold deny', () => {
  it('says what was called from where, and ends the program', () => {
    build('--cold', 'deny');
    for (const show of isRoot ? ['audit', 'mounts'] : ['audit']) {
      expect(ends(show, [])).toEqual(ends(undefined, []));
      const { signal, stderr } = ends(show, ['stacks']);
      expect([show, signal, stderr.slice(0, 21)]).toEqual([show, 'SIGABRT', 'winnow: E_COLD_CODE: ']);
    }
  });

  it('notes it in the image and lets it through with --on-miss log', () => {
    build('--cold', 'deny', '--on-miss', 'log');
    const log = join(image, 'misses.log');
    expect(existsSync(log)).toBe(false);
    expect(ends('audit', ['call'])).toEqual(ends(undefined, ['call']));
    const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
    const [first = ''] = lines.filter((line) => line.includes('cold24'));
    expect(first.split('\t')).toEqual([
      library,
      expect.stringMatching(/^0x[0-9a-f]+$/),
      'cold24',
      expect.stringContaining('+0x'),
    ]);
    const learnt = winnow('record', '--from-misses', '--name', 'cold', '--', program);
    expect(learnt.stderr).toContain(`${library}: cold24`);
    expect(existsSync(log)).toBe(false);
  });
});
