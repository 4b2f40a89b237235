import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { analyseAhead, likelyModules } from './ahead.ts';
import { type Entries, EntryFinder } from './entries.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-entries-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let caches = 0;
const newCache = (): string => join(folder, `cache${caches++}`);

/** An old file with one function more than it is given. */
function library(name: string, functions: number): string {
  const path = join(folder, `${name}.so`);
  const source = Array.from({ length: functions }, (_, n) => `int f${n}(int x) { return x + ${n}; }`).join(
    '\n',
  );
  writeFileSync(`${path}.c`, source);
  execFileSync('gcc', ['-O1', '-shared', '-fPIC', '-o', path, `${path}.c`]);
  return path;
}

/** It was written long ago: what has just been written is not kept. */
const LIBM = '/lib/x86_64-linux-gnu/libm.so.6';

function withFile<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, 'r');
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}
const find = (finder: EntryFinder, path: string): Entries => withFile(path, (fd) => finder.find(path, fd));
const known = (finder: EntryFinder, path: string): Entries | undefined =>
  withFile(path, (fd) => finder.known(fd));

describe('EntryFinder', () => {
  it('keeps what it found beside the analyses', () => {
    const cache = newCache();
    const entries = find(new EntryFinder(cache), LIBM);
    expect(entries).toHaveProperty('at.length');
    expect(readdirSync(cache).map((name) => name.replace(/^[0-9a-f]{64}/, ''))).toEqual(
      expect.arrayContaining(['.analysis', '.entries']),
    );
    expect(known(new EntryFinder(cache), LIBM)).toEqual(entries);
    expect(known(new EntryFinder(undefined), LIBM)).toBeUndefined();
  });

  it('keeps why a file has none', async () => {
    const cache = newCache();
    const path = join(folder, 'object.o');
    writeFileSync(`${path}.c`, 'int f(void) { return 1; }');
    execFileSync('gcc', ['-c', '-o', path, `${path}.c`]);
    await sleep(2100);
    const entries = find(new EntryFinder(cache), path);
    expect(entries).toMatchObject({ kind: 'kept' });
    expect(known(new EntryFinder(cache), path)).toEqual(entries);
  });

  it('takes what is damaged, or could have been written by others, for nothing', () => {
    const cache = newCache();
    const entries = find(new EntryFinder(cache), LIBM);
    const file = join(cache, readdirSync(cache).find((name) => name.endsWith('.entries')) ?? '');
    const good = readFileSync(file);
    for (const at of [0, 15, 40, 128, good.length - 1]) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 4;
      writeFileSync(file, bad);
      expect(known(new EntryFinder(cache), LIBM)).toBeUndefined();
    }
    writeFileSync(file, good.subarray(0, good.length - 4));
    expect(known(new EntryFinder(cache), LIBM)).toBeUndefined();
    expect(find(new EntryFinder(cache), LIBM)).toEqual(entries);
    expect(known(new EntryFinder(cache), LIBM)).toEqual(entries);
    chmodSync(cache, 0o777);
    expect(known(new EntryFinder(cache), LIBM)).toBeUndefined();
    expect(find(new EntryFinder(cache), LIBM)).toEqual(entries);
  });

  it('forgets a file that is changed in place, even if it looks the same', async () => {
    const cache = newCache();
    const path = library('changed', 3);
    const other = readFileSync(library('other', 3));
    const times = { at: new Date(1_700_000_000_000) };
    utimesSync(path, times.at, times.at);
    await sleep(2100);
    const finder = new EntryFinder(cache);
    find(finder, path);
    expect(known(finder, path)).toBeDefined();
    writeFileSync(path, other, { flag: 'r+' });
    utimesSync(path, times.at, times.at);
    expect(known(finder, path)).toBeUndefined();
    expect(known(new EntryFinder(cache), path)).toBeUndefined();
  });

  it('keeps nothing on disk of a file that has just been written', async () => {
    const cache = newCache();
    const path = library('fresh', 2);
    await sleep(40);
    const finder = new EntryFinder(cache);
    const entries = find(finder, path);
    expect(known(finder, path)).toEqual(entries);
    expect(known(new EntryFinder(cache), path)).toBeUndefined();
  });
});

describe('before the program starts', () => {
  const command = (...argv: string[]) => ({ program: argv[0] ?? '', argv, cwd: folder });

  it('the loader says what a program needs, and the programs among its arguments', () => {
    const name = library('needed', 1);
    const program = join(folder, 'needs');
    writeFileSync(`${program}.c`, 'int f0(int); int main() { return f0(0); }');
    execFileSync('gcc', ['-o', program, `${program}.c`, name]);
    expect(likelyModules(command('/usr/bin/env', 'needs', 'x', '-n'), {}, undefined)).toEqual(
      expect.arrayContaining(['/usr/bin/env', program, name]),
    );
    expect(likelyModules(command('/usr/bin/env'), {}, undefined)).not.toContain(name);
  });

  it('everything is analysed that has code, once', async () => {
    const cache = newCache();
    const finder = new EntryFinder(cache);
    const told: [number, number][] = [];
    const paths = [LIBM, '/etc/passwd', join(folder, 'missing'), library('ahead', 2)];
    const onProgress = (done: number, all: number) => void told.push([done, all]);
    await sleep(40);
    await analyseAhead(paths, finder, { cache, onProgress });
    expect(told).toEqual([
      [1, 2],
      [2, 2],
    ]);
    expect(known(finder, LIBM)).toEqual(find(new EntryFinder(undefined), LIBM));
    await analyseAhead(paths, finder, { cache, onProgress });
    expect(told).toHaveLength(2);
  });
});
