/** Starts that are not linked are counted, by their cause, where the image is the user's; and nobody notices. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { decodeMisses, MISSES_MAX } from '../src/base/misses.ts';
import { missesName } from '../src/share/built.ts';
import { REFUSALS } from '../src/share/linked/linked-layout.ts';
import { isRoot, ShareScene } from './share-scene.ts';
import {
  type BuiltImage,
  expectLinked,
  expectPlain,
  RestoreScene,
  type StartOptions,
  start,
} from './support/restore-scene.ts';

const scene = new RestoreScene();
afterAll(() => scene.remove());
let image: BuiltImage;
let misses = '';
beforeAll(async () => {
  image = await scene.build(scene.compile('counted'));
  misses = missesName(image.linked);
});
beforeEach(() => {
  rmSync(misses, { force: true });
  writeFileSync(misses, '', { mode: 0o600 });
});

const noted = (): string[] =>
  decodeMisses(readFileSync(misses)).causes.map(
    ({ what, index, count }) => `${REFUSALS[what]} ${index} ×${count}`,
  );
const MISS: StartOptions = { env: { LD_BIND_NOW: '1' } };

describe('a start that is not linked', () => {
  it('is noted with its cause, and none that is linked', () => {
    expectLinked(image);
    expect(noted()).toEqual([]);
    for (let i = 0; i < 3; i += 1) expectPlain(image, MISS);
    expectPlain(image, { through: ['prlimit', '--stack=2097152'] });
    expectLinked(image);
    expect(noted().map((one) => one.replace(/ \d+ /, ' '))).toEqual(['environment ×3', 'stack ×1']);
  });

  it('is noted with the file or the path that it is about', () => {
    const file = image.image.files.findIndex(({ path }) => path === scene.library);
    const then = new Date('2021-01-01T00:00:00Z');
    utimesSync(scene.library, then, then);
    expectPlain(image);
    scene.resetTimes();
    const watch = image.image.watches.findIndex(
      ({ kind, path }) => kind === 'absent' && path.startsWith(scene.before),
    );
    const { path } = image.image.watches[watch] ?? { path: '' };
    writeFileSync(path, '');
    start(image.copy, []);
    rmSync(path);
    scene.resetTimes();
    image.with(Buffer.alloc(64), () => expectPlain(image));
    expect(noted().sort()).toEqual([`file ${file} ×1`, 'image 0 ×1', `watch ${watch} ×1`]);
    expectLinked(image);
  });

  it('is noted once each when many start at a time', async () => {
    const starts = Array.from(
      { length: 40 },
      () =>
        new Promise((resolve) => {
          const env = { PATH: process.env.PATH, LD_BIND_NOW: '1' };
          spawn(image.copy, [], { env, stdio: 'ignore' }).on('exit', resolve);
        }),
    );
    await Promise.all(starts);
    expect(decodeMisses(readFileSync(misses)).count).toBe(40);
  });

  it('does not make the file, and notes nothing in one that is full, cut off, a link or a pipe', () => {
    rmSync(misses);
    expectPlain(image, MISS);
    expect(existsSync(misses)).toBe(false);
    for (const size of [MISSES_MAX, 12]) {
      writeFileSync(misses, Buffer.alloc(size));
      expectPlain(image, MISS);
      expect(statSync(misses).size).toBe(size);
    }
    writeFileSync(misses, Buffer.alloc(MISSES_MAX - 8), { mode: 0o600 });
    expectPlain(image, MISS);
    expect(statSync(misses).size).toBe(MISSES_MAX);
    const other = `${misses}.other`;
    renameSync(misses, other);
    writeFileSync(other, '');
    symlinkSync(other, misses);
    expectPlain(image, MISS);
    expect(statSync(other).size).toBe(0);
    rmSync(misses);
    execFileSync('mkfifo', [misses]);
    expectPlain(image, MISS);
    expect(lstatSync(misses).isFIFO()).toBe(true);
  });

  it('notes nothing where others could have written', () => {
    chmodSync(misses, 0o622);
    expectPlain(image, MISS);
    expect(noted()).toEqual([]);
  });

  it('does not end by SIGXFSZ under a limit of file sizes', () => {
    for (const limit of [0, 4, 65_536])
      expectPlain(image, { ...MISS, through: ['prlimit', `--fsize=${limit}`] });
    expect(noted()).toEqual([]);
    expectPlain(image, { ...MISS, through: ['prlimit', '--fsize=1000000'] });
    expect(noted()).toHaveLength(1);
  });

  it.runIf(isRoot)('is noted for the owner alone', () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    expectPlain(image, { ...MISS, through: nobody });
    chownSync(misses, 65_534, 65_534);
    // Root could write there, and leaves it.
    expectPlain(image, MISS);
    expect(noted()).toEqual([]);
    expectPlain(image, { ...MISS, through: nobody });
    expect(noted()).toHaveLength(1);
  });

  it.runIf(isRoot)('is not noted with the rights of another user', () => {
    const copy = join(scene.folder, 'set-uid-copy');
    writeFileSync(copy, readFileSync(image.copy));
    chmodSync(copy, 0o4755);
    const ran = start(copy, [], { through: ['setpriv', '--reuid=65534', '--clear-groups'] });
    expect(ran.base).toBeDefined();
    expect(noted()).toEqual([]);
  });
});

describe('what winnow tells of them', () => {
  const share = new ShareScene();
  afterAll(() => share.remove());
  const { program } = share;
  const json = (...words: readonly string[]) =>
    JSON.parse(share.good(words[0] ?? '', ...words.slice(1), '--json').stdout);
  const launch = (env: NodeJS.ProcessEnv) =>
    execFileSync(share.launcher('one'), ['nothing'], { env: { ...share.env, ...env } });

  beforeAll(() => {
    share.good('record', '-q', '--name', 'one', '--', program, 'nothing');
    share.good('build', '--name', 'one', '--only', 'share');
  });

  it('is nothing before there was one', () => {
    launch({});
    expect(share.good('image show', 'one').stdout).toMatch(/^ {2}misses {5}none noted$/m);
    expect(share.good('report', 'one').stdout).not.toContain('not linked');
    expect(json('report', 'one').misses).toEqual([
      { path: program, misses: { starts: 0, isFull: false, causes: [] } },
    ]);
  });

  it('is how many, why and when; and nothing of what an older image noted', () => {
    for (let i = 0; i < 2; i += 1) launch({ LD_BIND_NOW: '1' });
    const then = new Date('2021-01-01T00:00:00Z');
    utimesSync(share.library, then, then);
    launch({});
    const shown = share.good('image show', 'one').stdout;
    expect(shown).toMatch(/^ {2}misses {5}3 starts by its own loader, the last one at 20\d\d-/m);
    expect(shown).toMatch(/^ {13}2: LD_LIBRARY_PATH is another one, or another LD_…/m);
    expect(shown).toContain(`             1: a module has changed: ${share.library}\n`);
    expect(share.good('report', 'one').stdout).toMatch(
      new RegExp(
        `^starts of the image that were not linked \\(winnow image show one\\):\n {2}3 of ${program}; 2: LD_`,
        'm',
      ),
    );
    const [{ misses: told }] = json('image show', 'one').programs;
    expect(told).toMatchObject({ starts: 3, isFull: false });
    expect(Math.abs(Date.now() - told.newest)).toBeLessThan(600_000);
    expect(told.causes).toEqual([
      { cause: 'environment', starts: 2 },
      { cause: 'file', path: share.library, starts: 1 },
    ]);
    expect(json('report', 'one').misses).toEqual([{ path: program, misses: told }]);
    share.good('build', '--name', 'one', '--only', 'share');
    expect(json('report', 'one').misses[0].misses.starts).toBe(0);
  });

  it('is that they are not counted, where the file is gone', () => {
    rmSync(missesName(join(share.image('one'), 'share-00-main.linked')));
    launch({ LD_BIND_NOW: '1' });
    expect(share.good('image show', 'one').stdout).toMatch(/^ {2}misses {5}are not counted$/m);
    expect(json('report', 'one')).not.toHaveProperty('misses');
  });
});
