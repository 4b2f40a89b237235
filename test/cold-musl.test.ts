/**
 * Images whose unused code is denied or stored, of programs of musl: their loader opens no audit object, so nobody in
 * the process can bring such code, let it through or report it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf, type Ran, winnowOn } from './support/winnow.ts';

const isRoot = process.geteuid?.() === 0;
const FIXTURES = join(import.meta.dirname, 'fixtures');
// Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
const folder = mkdtempSync(join(import.meta.dirname, '.programs-musl-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const program = join(folder, 'musl');
const image = join(folder, 'store', 'images', 'musl');
const environment = { ...process.env, XDG_CACHE_HOME: join(folder, 'cache') };
const winnow = (command: string, ...words: readonly string[]): Ran =>
  winnowOn(join(folder, 'store'))(command, words, { cwd: folder, env: environment });
const build = (...words: readonly string[]): Ran =>
  winnow('build', '--name', 'musl', '--only', 'select', '--cold', ...words);

function compile(output: string, source: string, ...flags: readonly string[]): void {
  const done = spawnSync('musl-gcc', ['-O1', '-o', output, join(FIXTURES, source), ...flags], {
    encoding: 'utf8',
  });
  if (done.status !== 0) throw new Error(`musl-gcc: ${done.stderr}`);
}

/** How the program ends, plainly or from the image. */
function ends(show: string | undefined, ...words: readonly string[]) {
  const env = { ...environment, ...(show === undefined ? {} : { WINNOW_SHOW: show }) };
  const file = show === undefined ? program : join(image, 'launch');
  const { stdout, stderr, status, signal } = spawnSync(file, words, { encoding: 'utf8', env });
  return { stdout, stderr, status, signal };
}

const shows = isRoot ? ['auto', 'mounts', 'audit'] : ['auto', 'audit'];

// With CI set a machine without musl-gcc fails.
describe.skipIf(process.env.CI === undefined && !existsSync('/usr/bin/musl-gcc'))('a program of musl', () => {
  beforeAll(() => {
    const library = join(folder, 'libmusl-test.so');
    compile(library, 'musl-library.c', '-shared', '-fPIC');
    compile(program, 'musl.c', library);
    expect(ends(undefined)).toMatchObject({ stdout: 'used 7, LD_AUDIT none\n', status: 7 });
    const recorded = winnow('record', '--functions', '--name', 'musl', '--', program);
    expect(recorded.status, recorded.stderr).toBe(7);
  }, 60_000);

  it.each(shows)('does what was recorded with --cold deny, shown by %s, and goes no further', (show) => {
    expect(build('deny').status).toBe(0);
    expect(ends(show)).toEqual(ends(undefined));
    // By audit alone it is shown its originals. Where the copies are mounted, unused code cannot be executed.
    const strays = ends(show, 'stray');
    if (show === 'audit') expect(strays).toEqual(ends(undefined, 'stray'));
    else if (show === 'mounts' || isRoot) {
      expect(strays).toEqual({ ...ends(undefined), status: null, signal: 'SIGSEGV' });
    } else expect([ends(undefined, 'stray').stdout, ends(undefined).stdout]).toContain(strays.stdout);
  });

  it.each(shows)('does all it did before with --cold store, shown by %s', (show) => {
    expect(build('store').status).toBe(0);
    for (const words of [[], ['stray']]) expect(ends(show, ...words)).toEqual(ends(undefined, ...words));
  });

  it('has no --on-miss log: nobody could let it through; the image that was there stays', () => {
    expect(build('store').status).toBe(0);
    const before = readlinkSync(image);
    const refused = build('deny', '--on-miss', 'log');
    expect([refused.status, codeOf(refused)]).toEqual([5, 'E_COLD_UNSUPPORTED']);
    expect(refused.stderr).toContain(program);
    expect(readlinkSync(image)).toBe(before);
    expect(ends('auto', 'stray')).toEqual(ends(undefined, 'stray'));
  });
});
