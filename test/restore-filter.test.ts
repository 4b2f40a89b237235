/** Under a seccomp filter a start makes the system calls of a plain one and no others: another one may kill. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { missesName } from '../src/share/built.ts';
import {
  type BuiltImage,
  both,
  expectLinked,
  expectPlain,
  expectSame,
  RestoreScene,
  type Started,
  start,
  untold,
} from './support/restore-scene.ts';

const isRoot = process.geteuid?.() === 0;
const scene = new RestoreScene();
afterAll(() => scene.remove());
let only = '';
let hold = '';
const images: Record<string, BuiltImage> = {};

beforeAll(async () => {
  only = scene.helper('only-calls-of');
  hold = scene.helper('hold-code');
  const bare = scene.compileProgram('bare', 'bare.c', scene.library);
  const fixed = scene.compileProgram('bare-fixed', 'bare.c', scene.library, '-no-pie');
  images['of files'] = await scene.build(bare);
  images['of joined files'] = await scene.build(bare, 'joined');
  images['of fixed addresses'] = await scene.build(fixed);
  images['that slides'] = await scene.build(scene.compile('slides'), 'files', { slides: true });
  images['with everything in it'] = await scene.build(scene.compile('linked'));
});

const named = (name: string): BuiltImage => {
  const built = images[name];
  if (built === undefined) throw new Error(name);
  return built;
};
const NAMES = ['of files', 'of joined files', 'of fixed addresses'];
const WORDS = ['one', 'two words'];
/** The program itself, and its copy, where whoever makes a call that the program itself does not make is killed. */
const underFilter = (built: BuiltImage): { plain: Started; ours: Started } => ({
  plain: start(built.program, WORDS, { through: [only, built.program] }),
  ours: start(built.copy, WORDS, { through: [only, built.program] }),
});

describe('under a filter that kills for calls that no plain start makes', () => {
  it('other programs end by SIGSYS', () => {
    const { status, stdout } = start('/bin/ls', [], { through: [only, named('of files').program] });
    expect([status, stdout]).toEqual([null, '']);
  });

  it.each(NAMES)('an image %s is started from', (name) => {
    const built = named(name);
    const pair = underFilter(built);
    expectSame(pair);
    expect(pair.plain.status).toBe(4);
    expect(built.isFrom(pair.ours)).toBe(true);
  });

  it.each(NAMES)('a program whose image %s is not used starts plainly, and nothing is noted', (name) => {
    const built = named(name);
    const misses = missesName(built.linked);
    writeFileSync(misses, '');
    built.with(built.bytes.subarray(0, 4096), () => {
      const pair = underFilter(built);
      expectSame(pair);
      expect(pair.plain.status).toBe(4);
      expect(pair.ours.base).toBeDefined();
      expect(built.isFrom(pair.ours)).toBe(false);
    });
    expect(readFileSync(misses)).toHaveLength(0);
    rmSync(misses);
  });
});

describe('under a filter that refuses something, as containers have', () => {
  it('an image is started from, but that the kernel is not told what has moved', () => {
    const built = named('with everything in it');
    const pair = both(built, WORDS, { through: [hold, 'filter'] });
    expect(pair.plain.stdout).toContain('auxv 1 code 1');
    expect(pair.ours.stdout).toContain('auxv 0 code 0');
    expectSame({ plain: pair.plain, ours: untold(pair.ours) });
    expect(built.isFrom(pair.ours)).toBe(true);
  });

  it('an image whose addresses slide is not: loaders ask for no random numbers', () => {
    const built = named('that slides');
    expectLinked(built);
    const pair = both(built, WORDS, { through: [hold, 'filter'] });
    expectSame({ plain: pair.plain, ours: untold(pair.ours) });
    expect(pair.ours.base).toBeDefined();
    expect(built.isFrom(pair.ours)).toBe(false);
  });
});

describe.runIf(isRoot)('where /proc does not say whether there is a filter', () => {
  const without = (): readonly string[] => {
    const root = join(scene.folder, 'root');
    const script = `mkdir -p ${root} && mount --bind / ${root} && exec chroot ${root} "$@"`;
    return ['unshare', '-m', 'sh', '-c', script, 'sh'];
  };

  it('a program that would have to be moved starts plainly, another one from its image', () => {
    expectPlain(named('with everything in it'), { through: without() });
    const fixed = named('of fixed addresses');
    const pair = both(fixed, WORDS, { through: without() });
    expectSame(pair);
    expect(fixed.isFrom(pair.ours)).toBe(true);
  });

  it('many groups do not hide what it says', () => {
    const groups = Array.from({ length: 700 }, (_, i) => 100_000 + i).join(',');
    const built = named('with everything in it');
    const pair = both(built, WORDS, { through: ['setpriv', `--groups=${groups}`, hold, 'filter'] });
    expectSame({ plain: pair.plain, ours: untold(pair.ours) });
    expect(pair.ours.stdout).toContain('auxv 0 code 0');
  });
});
