/**
 * What is wrong with names, profiles, images, plans and stores gets one clear error: its exit code, its code
 * on stderr, nothing on stdout, the store as it was. `record` is tested elsewhere.
 * Over 300 lines: tables of cases on one scene.
 */
import {
  chmodSync,
  chownSync,
  copyFileSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { isRoot } from './launch-scene.ts';
import {
  all,
  type Case,
  expectRefusal,
  type Line,
  line,
  refuserIn,
  runnerIn,
  titled,
} from './support/refusals.ts';
import { cutInHalf, edit, flipBit, StoreScene } from './support/store-scene.ts';
import { runWinnow } from './support/winnow.ts';

const scene = new StoreScene();
afterAll(() => scene.drop());
beforeEach(() => scene.restore());

const run = runnerIn(scene);
const refuses = refuserIn(scene);

/** Commands that read the profile `one`. */
const PROFILE_LINES: readonly Line[] = [
  line('report', 'one'),
  line('report'),
  line('build', '--name', 'one'),
  line('profile show', 'one', '--json'),
  line('profile export', 'one'),
  line('profile merge', 'other', 'one'),
  line('profile merge', 'one', 'one'),
];

/** Commands that read the image `one`; `run` has an exit code of its own for winnow's errors. */
const imageLines = (status: number): readonly (readonly [Line, number])[] => [
  [line('image show', 'one'), status],
  [line('install', 'one', '--dir', join(scene.folder, 'bin')), status],
  [line('run', '--name', 'one', '--', scene.program, 'x'), 125],
  [line('verify', '--name', 'one', '--', scene.program, 'x'), status],
  [line('bench', '--name', 'one', '--', scene.program, 'x'), status],
];

const allImages = (status: number, code: string): Case[] =>
  imageLines(status).map(([at, ownStatus]) => [at, ownStatus, code]);

describe('a name that is not there', () => {
  refuses([
    [line('report', 'none'), 4, 'E_NO_PROFILE'],
    [line('report', '--', '/bin/true', 'unrecorded'), 4, 'E_NO_PROFILE'],
    [line('build', '--name', 'none'), 4, 'E_NO_PROFILE'],
    [line('build', '--', '/bin/true', 'unrecorded'), 4, 'E_NO_PROFILE'],
    [line('profile show', 'none'), 4, 'E_NO_PROFILE'],
    [line('profile export', 'none'), 4, 'E_NO_PROFILE'],
    [line('profile export', 'none', '-'), 4, 'E_NO_PROFILE'],
    [line('profile merge', 'one', 'none'), 4, 'E_NO_PROFILE'],
    [line('profile import', '/none.wnp'), 4, 'E_CANNOT_READ'],
    [line('profile import', '/dev'), 4, 'E_CANNOT_READ'],
    [line('profile drop', 'none'), 4, 'E_NO_PROFILE'],
    [line('image show', 'none'), 4, 'E_NO_IMAGE'],
    [line('image drop', 'none'), 4, 'E_NO_IMAGE'],
    [line('install', 'none'), 4, 'E_NO_IMAGE'],
    [line('run', '--name', 'none', '--', 'true'), 125, 'E_NO_IMAGE'],
    [line('run', '--', '/bin/true', 'unrecorded'), 125, 'E_NO_IMAGE'],
    [line('verify', '--name', 'none', '--', 'true'), 4, 'E_NO_IMAGE'],
    [line('bench', '--name', 'none', '--', 'true'), 4, 'E_NO_IMAGE'],
  ]);
});

describe('a name that leads out of the store', () => {
  refuses(
    ['a/b', '../one', '..', '/one', ''].flatMap((name): Case[] => [
      [line('report', name), 2, 'E_BAD_NAME'],
      [line('profile drop', name), 2, 'E_BAD_NAME'],
      [line('image drop', name), 2, 'E_BAD_NAME'],
    ]),
  );
  const name = '../store/profiles/one';
  refuses([
    [line('build', '--name', name), 2, 'E_BAD_NAME'],
    [line('profile show', name), 2, 'E_BAD_NAME'],
    [line('profile export', name), 2, 'E_BAD_NAME'],
    [line('profile merge', name, 'one'), 2, 'E_BAD_NAME'],
    [line('profile merge', 'one', name), 2, 'E_BAD_NAME'],
    [line('profile import', join(scene.store, 'profiles/one.wnp'), '--name', name), 2, 'E_BAD_NAME'],
    [line('image show', name), 2, 'E_BAD_NAME'],
    [line('install', name), 2, 'E_BAD_NAME'],
    [line('install', 'one', '--dir', join(scene.folder, 'bin'), '--as', 'a/b'), 2, 'E_USAGE'],
    [line('run', '--name', name, '--', 'true'), 2, 'E_BAD_NAME'],
    [line('verify', '--name', name, '--', 'true'), 2, 'E_BAD_NAME'],
    [line('bench', '--name', name, '--', 'true'), 2, 'E_BAD_NAME'],
  ]);
});

describe('a profile', () => {
  const newer = (bytes: Buffer): Buffer =>
    Buffer.from(bytes.toString('latin1').replace(/^winnow-profile \d+ /, 'winnow-profile 99 '), 'latin1');
  const damages: readonly [string, (bytes: Buffer) => Buffer, number, string][] = [
    ['cut off', cutInHalf, 4, 'E_PROFILE_TRUNCATED'],
    ['empty', () => Buffer.alloc(0), 4, 'E_PROFILE_TRUNCATED'],
    ['with a bit turned', flipBit(-20), 4, 'E_PROFILE_DAMAGED'],
    ['with a bit turned in its first line', flipBit(30), 4, 'E_PROFILE_DAMAGED'],
    ['of a newer format', newer, 5, 'E_PROFILE_NEWER'],
    ['that is something else', () => Buffer.from('{"a": 1}\n'), 4, 'E_NOT_A_PROFILE'],
  ];
  describe.each(damages)('%s', (_what, change, status, code) => {
    refuses(all(PROFILE_LINES, status, code), () => edit(scene.profileFile, change));

    it('is not imported', () => {
      const file = join(scene.folder, 'exported.wnp');
      writeFileSync(file, change(readFileSync(scene.profileFile)));
      const before = scene.seen();
      expectRefusal(run(line('profile import', file, '--name', 'other')), status, code);
      expect(scene.seen()).toEqual(before);
    });

    it('is listed with its error, hides no other, and can be dropped', () => {
      copyFileSync(scene.profileFile, scene.path('profiles', 'sound.wnp'));
      chmodSync(scene.path('profiles', 'sound.wnp'), 0o600);
      edit(scene.profileFile, change);
      expect(run(line('profile list')).stdout).toMatch(new RegExp(`^one .*${code}[^]*^sound `, 'm'));
      expect(run(line('report')).status).toBe(0);
      expect(run(line('profile drop', 'one')).status).toBe(0);
      expect(readdirSync(scene.path('profiles'))).not.toContain('one.wnp');
    });
  });
});

describe('an image', () => {
  const manifest = (): string => join(scene.image, 'manifest.json');
  const withVersion = (bytes: Buffer): Buffer =>
    Buffer.from(JSON.stringify({ ...JSON.parse(bytes.toString()), version: 99 }));
  describe.each<[string, (bytes: Buffer) => Buffer, number, string]>([
    ['with a manifest cut off', cutInHalf, 4, 'E_IMAGE_DAMAGED'],
    ['with a bit turned in its manifest', flipBit(0), 4, 'E_IMAGE_DAMAGED'],
    ['with an empty manifest', () => Buffer.alloc(0), 4, 'E_IMAGE_DAMAGED'],
    ['of a newer version', withVersion, 5, 'E_IMAGE_NEWER'],
  ])('%s', (_what, change, status, code) => {
    refuses(allImages(status, code), () => edit(manifest(), change));
  });

  describe('without its manifest', () => {
    refuses(allImages(4, 'E_IMAGE_DAMAGED'), () => rmSync(manifest()));
  });

  it('that is broken can be built again and dropped', () => {
    edit(manifest(), cutInHalf);
    expect(run(line('image list')).stdout).toMatch(/^one .*E_IMAGE_DAMAGED/m);
    expect(run(line('build', '--name', 'one')).status).toBe(0);
    expect(run(line('image show', 'one')).status).toBe(0);
    edit(manifest(), cutInHalf);
    expect(run(line('image drop', 'one')).status).toBe(0);
    expect(readdirSync(scene.path('images'))).toEqual(['.lock']);
  });

  describe.each(['program', 'command', 'argv'])('without its file %s', (part) => {
    const looking = [
      line('image show', 'one'),
      line('install', 'one', '--with-arguments', '--dir', join(scene.folder, 'bin')),
    ];
    refuses(all(looking, 4, 'E_IMAGE_DAMAGED'), () => rmSync(join(scene.image, part)));
  });

  describe('without its launcher', () => {
    refuses(allImages(4, 'E_IMAGE_DAMAGED'), () => rmSync(join(scene.image, 'launch')));
  });
});

describe('a plan', () => {
  const plan = (): string => join(scene.image, 'plan.bin');
  const newer = (bytes: Buffer): Buffer => {
    bytes.writeUInt32LE(2, 8);
    return bytes;
  };
  describe.each<[string, (bytes: Buffer) => Buffer, number, string]>([
    ['cut off', cutInHalf, 4, 'E_PLAN_TRUNCATED'],
    ['empty', () => Buffer.alloc(0), 4, 'E_PLAN_TRUNCATED'],
    ['with a bit turned in its head', flipBit(40), 4, 'E_PLAN_DAMAGED'],
    ['with a bit turned at its end', flipBit(-1), 4, 'E_PLAN_DAMAGED'],
    ['of a newer format', newer, 5, 'E_PLAN_NEWER'],
  ])('%s', (_what, change, status, code) => {
    refuses([[line('image show', 'one', '--json'), status, code]], () => edit(plan(), change));

    it('keeps the program from nothing', () => {
      edit(plan(), change);
      const ran = run(line('run', '--', scene.program, 'x'));
      expect([ran.status, ran.stdout, ran.stderr]).toEqual([0, '', '']);
    });
  });

  describe('that is not there', () => {
    refuses([[line('image show', 'one'), 4, 'E_IMAGE_DAMAGED']], () => rmSync(plan()));
  });
});

describe('a store that others can write', () => {
  const profileCases = all(PROFILE_LINES, 3, 'E_STORE_WRITABLE');
  const imageCases = allImages(3, 'E_STORE_WRITABLE');
  describe.each<[string, readonly Case[], () => string]>([
    ['its folder', profileCases, () => scene.store],
    ['its folder of profiles', profileCases, () => scene.path('profiles')],
    ['its profile', profileCases, () => scene.profileFile],
    ['its folder of images', imageCases, () => scene.path('images')],
    ['an image', imageCases, () => scene.image],
    ['a manifest', imageCases, () => join(scene.image, 'manifest.json')],
    ['a plan', imageCases, () => join(scene.image, 'plan.bin')],
    ['a launcher', imageCases, () => join(scene.image, 'launch')],
    ['recorded arguments', imageCases, () => join(scene.image, 'argv')],
  ])('at %s', (_what, cases, path) => {
    refuses(cases, () => chmodSync(path(), 0o777));
  });

  describe('at its folder, when something is to be written', () => {
    refuses(
      [
        [line('profile drop', 'one'), 3, 'E_STORE_WRITABLE'],
        [line('profile import', scene.profileFile), 3, 'E_STORE_WRITABLE'],
        [line('profile list'), 3, 'E_STORE_WRITABLE'],
      ],
      () => chmodSync(scene.store, 0o777),
    );
  });
});

describe('a store of somebody else', () => {
  describe.skipIf(!process.env.CI && !isRoot)('(needs root to give it away)', () => {
    refuses(all(PROFILE_LINES, 3, 'E_STORE_OWNER'), () => chownSync(scene.profileFile, 12_345, 12_345));
    refuses(allImages(3, 'E_STORE_OWNER'), () =>
      chownSync(join(scene.image, 'manifest.json'), 12_345, 12_345),
    );
  });
});

describe('a store that is none', () => {
  const reading = [line('report'), line('profile list'), line('profile show', 'one')];
  const writing = [line('profile import', 'FILE'), line('profile merge', 'x', 'y')];
  const images = [line('image list'), line('image show', 'one'), line('install', 'one')];
  const copy = join(scene.folder, 'kept.wnp');

  const refusesAt = (store: string, cases: readonly Case[], prepare: () => void = () => undefined): void => {
    it.each(titled(scene, cases))('%s: %i %s', (_title, status, code, { command, words }) => {
      copyFileSync(scene.profileFile, copy);
      prepare();
      const given = words.map((word) => (word === 'FILE' ? copy : word));
      const ran = runWinnow([...command.split(' '), '--store', store, ...given]);
      expectRefusal(ran, status, code);
    });
  };

  describe('but a file', () => {
    const file = join(scene.folder, 'file');
    const prepare = (): void => writeFileSync(file, 'mine');
    refusesAt(file, all([...reading, ...writing, ...images], 3, 'E_STORE_NOT_A_FOLDER'), prepare);
    refusesAt(join(file, 'x'), all([...reading, ...writing, ...images], 3, 'E_STORE_NOT_A_FOLDER'), prepare);
    afterAll(() => expect(readFileSync(file, 'utf8')).toBe('mine'));
  });

  describe('but a link that leads nowhere', () => {
    const link = join(scene.folder, 'link');
    const prepare = (): void => {
      rmSync(link, { force: true });
      symlinkSync('/nowhere/at/all', link);
    };
    refusesAt(link, all(writing, 3, 'E_STORE_NOT_A_FOLDER'), prepare);
    refusesAt(join(link, 'x'), all(writing, 3, 'E_STORE_IO'), prepare);
  });

  describe('and can never be one', () => {
    refusesAt('/proc/none/store', all(writing, 3, 'E_STORE_IO'));
    refusesAt('/proc/store', all(writing, 3, 'E_STORE_IO'));
    refusesAt('/proc/none/store', [
      [line('report'), 4, 'E_NO_PROFILE'],
      [line('build', '--name', 'one'), 4, 'E_NO_PROFILE'],
      [line('image show', 'one'), 4, 'E_NO_IMAGE'],
    ]);
  });
});

describe('a place that cannot be written', () => {
  refuses([
    [line('install', 'one', '--dir', '/proc/none/bin'), 3, 'E_INSTALL_WRITE'],
    [line('install', 'one', '--dir', '/dev/null'), 3, 'E_INSTALL_WRITE'],
    [line('profile export', 'one', '/proc/none/one.wnp'), 3, 'E_CANNOT_WRITE'],
    [line('profile export', 'one', '/dev'), 3, 'E_CANNOT_WRITE'],
    [line('profile export', 'one', '/dev/null/one.wnp'), 3, 'E_CANNOT_WRITE'],
  ]);
});
