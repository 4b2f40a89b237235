/** `winnow build` with rewritten modules, as a person uses it: what is built, what it does, what it leaves alone. */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { codeOf, type Ran, WINNOW, winnowOn } from './support/winnow.ts';

const isRoot = process.geteuid?.() === 0;
// Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
const folder = mkdtempSync(join(import.meta.dirname, '.programs-select-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const store = join(folder, 'store');
const program = join(folder, 'main');
const library = join(folder, 'libown.so');
const FUNCTIONS = 40;

/** Each function on a page of its own; `main N M…` calls those. */
const LIBRARY = Array.from(
  { length: FUNCTIONS },
  (_, i) => `__attribute__((noinline, aligned(4096))) int f${i}(int x) { return x * ${i + 3} + ${i}; }`,
).join('\n');
const MAIN = `#include <stdlib.h>
#include <unistd.h>
${Array.from({ length: FUNCTIONS }, (_, i) => `int f${i}(int);`).join('\n')}
static int (*const all[])(int) = {${Array.from({ length: FUNCTIONS }, (_, i) => `f${i}`).join(', ')}};
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    int value = all[atoi(argv[i])](i);
    char text[8] = {'0' + value / 100 % 10, '0' + value / 10 % 10, '0' + value % 10, '\\n'};
    if (write(1, text, 4) != 4) return 1;
  }
  return 5;
}
`;

const environment = { ...process.env, XDG_CACHE_HOME: join(folder, 'cache') };
const winnow = (command: string, ...words: readonly string[]): Ran =>
  winnowOn(store)(command, words, { cwd: folder, env: environment });
const plain = (...words: readonly string[]): SpawnSyncReturns<string> =>
  spawnSync(program, words, { encoding: 'utf8' });

function compile(librarySource: string): void {
  writeFileSync(join(folder, 'own.c'), librarySource);
  writeFileSync(join(folder, 'main.c'), MAIN);
  const gcc = (...words: string[]): void => {
    const done = spawnSync('gcc', ['-O1', ...words], { cwd: folder, encoding: 'utf8' });
    expect(done.stderr).toBe('');
  };
  gcc('-shared', '-fPIC', '-o', library, 'own.c');
  gcc('-o', program, 'main.c', library);
}

const sum = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const originals = (): string[] =>
  [program, library, realpathSync('/lib/x86_64-linux-gnu/libc.so.6')].map(sum);

/** Expects that it went well. */
function good(ran: Ran): Ran {
  expect(ran.status, ran.stderr).toBe(0);
  return ran;
}

const build = (...words: readonly string[]): Ran => good(winnow('build', '--name', 'own', ...words));
const run = (...words: readonly string[]): Ran => winnow('run', '--name', 'own', '--', program, ...words);
const moduleOf = (json: { select: { modules: Row[] } }, path: string): Row | undefined =>
  json.select.modules.find((row) => row.path === path);

interface Row {
  readonly path: string;
  readonly kept?: string;
  readonly textPages: number;
  readonly usedPages: number;
  readonly neededPages: number;
  readonly usedFunctions: number;
}

let before: readonly string[] = [];
beforeAll(() => {
  compile(LIBRARY);
  before = originals();
  const recorded = winnow('record', '--functions', '--name', 'own', '--', program, '2', '30');
  expect([recorded.status, recorded.stdout]).toEqual([5, plain('2', '30').stdout]);
});

describe('winnow build with functions', () => {
  it('packs what was used, says how much that is, and touches no original', () => {
    const json = JSON.parse(build('--json').stdout);
    expect(json.techniques).toEqual(['prefetch', 'select']);
    expect(moduleOf(json, library)).toMatchObject({ neededPages: 1 });
    const { textPages, usedPages } = moduleOf(json, library) ?? { textPages: 0, usedPages: 0 };
    expect(textPages).toBeGreaterThan(FUNCTIONS);
    expect(usedPages).toBeLessThan(10);
    for (const words of [['2', '30'], ['7'], ['39', '0', '11']]) {
      const ran = run(...words);
      expect([ran.status, ran.stdout]).toEqual([5, plain(...words).stdout]);
    }
    expect(originals()).toEqual(before);
  });

  it('shows the same in words', () => {
    build();
    const row = /^ *(\d+) +\d+ +\d+ +1 +9\d\.\d % .*libown\.so$/m;
    expect(good(winnow('image show', 'own')).stdout).toMatch(row);
    expect(good(winnow('report', '--functions', 'own')).stdout).toMatch(row);
    expect(build('--only', 'select').stdout).toMatch(/^built own\n\n\d+ modules, \d+ of them rewritten; /);
  });

  it('does one technique alone where that is asked for', () => {
    const techniques = (...words: string[]) => JSON.parse(build('--json', ...words).stdout).techniques;
    expect(techniques('--only', 'prefetch')).toEqual(['prefetch']);
    expect(techniques('--only', 'select')).toEqual(['select']);
    expect(techniques('--only', 'select,prefetch')).toEqual(['prefetch', 'select']);
  });

  it.each([
    [['--only', 'magic'], 2, 'E_USAGE'],
    [['--only', ''], 2, 'E_USAGE'],
    [['--cold', 'ice'], 2, 'E_USAGE'],
    [['--only', 'prefetch', '--cold', 'deny'], 2, 'E_USAGE'],
    [['--rootfs', '/'], 2, 'E_USAGE'],
    [['--out', 'x'], 2, 'E_USAGE'],
    [['--rootfs', '/etc', '--out', 'x', '--only', 'prefetch'], 2, 'E_USAGE'],
  ])('refuses %j', (words, status, code) => {
    const ran = winnow('build', '--name', 'own', ...words);
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([status, code, '']);
  });

  it('says how to come by functions where a profile has none', () => {
    good(winnow('record', '-q', '--name', 'none', '--', '/bin/true'));
    for (const [command, ...words] of [
      ['build', '--only', 'select', '--name', 'none'],
      ['report', '--functions', 'none'],
    ]) {
      const ran = winnow(command ?? '', ...words);
      expect([ran.status, codeOf(ran)]).toEqual([4, 'E_NO_FUNCTIONS']);
      expect(ran.stderr).toContain('winnow record --functions -- /bin/true');
    }
    const json = JSON.parse(good(winnow('build', '--name', 'none', '--json')).stdout);
    expect(json.techniques).toEqual(['prefetch']);
  });

  it('leaves the old image where it is killed, and no rests; the next one would take them away', async () => {
    build();
    const images = join(store, 'images');
    const image = readlinkSync(join(images, 'own'));
    rmSync(environment.XDG_CACHE_HOME, { recursive: true });
    const child = spawn(WINNOW, ['build', '--store', store, '--name', 'own'], { env: environment });
    const staged = () => readdirSync(images).filter((name) => name.endsWith('.stage'));
    for (let i = 0; staged().length === 0 && i < 1000; i++) await sleep(5);
    expect(staged()).toHaveLength(1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(readlinkSync(join(images, 'own'))).toBe(image);
    expect(run('2').stdout).toBe(plain('2').stdout);
    for (let i = 0; staged().length > 0 && i < 1000; i++) await sleep(5);
    expect(staged()).toEqual([]);
    // Where nobody was left to take it away: the machine lost its power.
    mkdirSync(join(images, '.own@0123456789ab.stage', 'modules'), { recursive: true });
    expect(run('2').stdout).toBe(plain('2').stdout);
    build('--only', 'prefetch');
    expect(staged()).toEqual([]);
  });
});

describe('a store without room for rewritten modules', () => {
  it.skipIf(!process.env.CI && !isRoot)('keeps its old image (needs root to mount one)', () => {
    const disk = join(folder, 'full');
    mkdirSync(disk);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=700', 'none', disk]).status).toBe(0);
    try {
      const images = join(disk, 'store', 'images');
      const on = (command: string, ...words: string[]) =>
        winnowOn(join(disk, 'store'))(command, words, { cwd: folder, env: environment });
      const exported = join(folder, 'own.wnp');
      good(winnow('profile export', 'own', exported));
      good(on('profile import', exported));
      good(on('build', '--name', 'own', '--only', 'prefetch'));
      const image = readlinkSync(join(images, 'own'));
      const full = on('build', '--name', 'own', '--only', 'select');
      expect([full.status, codeOf(full)]).toEqual([3, 'E_IMAGE_FULL']);
      expect(readlinkSync(join(images, 'own'))).toBe(image);
      expect(readdirSync(images).sort()).toEqual([image, '.lock', 'own'].sort());
    } finally {
      spawnSync('umount', [disk]);
    }
  });
});

describe('winnow build --cold deny', () => {
  it('lets the program execute what was recorded, and nothing else; misses can be learnt', () => {
    build('--cold', 'deny');
    expect(run('2', '30').stdout).toBe(plain('2', '30').stdout);
    const denied = run('7');
    expect([denied.signal, codeOf(denied)]).toEqual(['SIGABRT', 'E_COLD_CODE']);
    expect(denied.stderr).toMatch(new RegExp(`where: ${library}.0x[0-9a-f]+ .f7., from ${program}.0x`));
    const missed = join(folder, 'missed.json');
    const learning = winnow('record', '--from-misses', '--json', missed, '--name', 'own', '--', program, '7');
    expect([learning.status, learning.stdout]).toEqual([5, plain('7').stdout]);
    expect(learning.stderr).toContain(`${library}: f7, once`);
    expect(JSON.parse(readFileSync(missed, 'utf8'))).toMatchObject({
      winnow: 'misses',
      pages: 1,
      functions: 1,
      misses: [{ module: library, name: 'f7', times: 1 }],
    });
    build('--cold', 'deny');
    expect(run('7').stdout).toBe(plain('7').stdout);
    build();
    const refused = winnow('record', '--from-misses', '--name', 'own', '--', program, '7');
    expect([refused.status, codeOf(refused), refused.stdout]).toEqual([125, 'E_NOT_DENIED', '']);
  });
});

describe('winnow build --rootfs', () => {
  const root = join(folder, 'root');
  const out = join(folder, 'out');

  it.skipIf(!process.env.CI && !isRoot)(
    'rewrites modules in a copy of a root (needs root for chroot)',
    () => {
      const libc = '/lib/x86_64-linux-gnu/libc.so.6';
      for (const path of [program, library, libc, '/lib64/ld-linux-x86-64.so.2'].map((one) =>
        realpathSync(one),
      )) {
        mkdirSync(dirname(join(root, path)), { recursive: true });
        expect(spawnSync('cp', ['-a', path, join(root, path)]).status).toBe(0);
      }
      spawnSync('sh', [
        '-c',
        'cd "$0" && ln -s usr/lib lib && mkdir lib64 && ln -s "$1" lib64/',
        root,
        realpathSync('/lib64/ld-linux-x86-64.so.2'),
      ]);
      chmodSync(root, 0o755);
      const inside = (at: string, ...words: string[]) =>
        spawnSync('chroot', [at, program, ...words], { encoding: 'utf8' });
      expect(inside(root, '2').stderr).toBe('');
      const of = (at: string) => [program, library].map((path) => sum(join(at, path)));
      const untouched = of(root);

      const words = ['--name', 'own', '--cold', 'deny', '--rootfs', root, '--out', out];
      expect(JSON.parse(good(winnow('build', ...words, '--json')).stdout)).toMatchObject({
        winnow: 'root-copy',
        path: out,
      });
      expect(inside(out, '2', '30').stdout).toBe(plain('2', '30').stdout);
      expect(inside(out, '9').signal).toBe('SIGSEGV');
      expect(of(root)).toEqual(untouched);
      expect(of(out)).not.toEqual(untouched);
      expect(existsSync(join(out, 'modules.bin'))).toBe(false);
    },
  );
});

describe('a module that has changed since the recording', () => {
  it('stays as it is, and the report says so', () => {
    compile(LIBRARY.replaceAll('* 5', '* 6'));
    const json = JSON.parse(build('--json').stdout);
    expect(moduleOf(json, library)).toMatchObject({ kept: 'changed since the recording' });
    expect(run('2').stdout).toBe(plain('2').stdout);
    expect(good(winnow('report', '--functions', 'own')).stdout).toContain('changed since the recording');
  });
});
