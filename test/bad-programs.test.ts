/** Programs and files that cannot be used, or are no longer what was recorded; a full disk. */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { isRoot } from './launch-scene.ts';
import { type Case, expectRefusal, type Line, line, refuserIn, runnerIn } from './support/refusals.ts';
import { cutTo, edit, StoreScene } from './support/store-scene.ts';
import { type Ran, runWinnow, WINNOW } from './support/winnow.ts';

const scene = new StoreScene();
afterAll(() => scene.drop());
beforeEach(() => scene.restore());

const run = runnerIn(scene);
const refuses = refuserIn(scene);

describe('a program that cannot be used', () => {
  /** The program with another value at a place of its ELF header. */
  const withByte = (at: number, value: number) => () =>
    edit(scene.program, (bytes) => {
      bytes[at] = value;
      return bytes;
    });
  const [EI_CLASS, EI_DATA, E_TYPE, E_MACHINE] = [4, 5, 16, 18];
  const to32 = (): void => {
    withByte(EI_CLASS, 1)();
    withByte(E_MACHINE, 3)();
  };
  const using = (code: string, status: number, runStatus: number): Case[] => [
    [line('build', '--name', 'one'), status, code],
    [line('build', '--', scene.program, 'x'), status, code],
    [line('report', '--', scene.program, 'x'), status, code],
    [line('run', '--', scene.program, 'x'), runStatus, code],
    [line('verify', '--', scene.program, 'x'), status, code],
    [line('bench', '--', scene.program, 'x'), status, code],
  ];

  const folderInstead = (): void => {
    rmSync(scene.program);
    mkdirSync(scene.program);
  };
  const notExecutable = using('E_PROGRAM_NOT_EXECUTABLE', 126, 126);
  const noFormat = using('E_PROGRAM_FORMAT', 126, 126);

  describe.each<[string, () => void, readonly Case[], readonly [number, string] | undefined]>([
    ['for 32 bits', to32, using('E_ELF_CLASS', 5, 125), [5, 'E_ELF_CLASS']],
    ['for aarch64', withByte(E_MACHINE, 183), using('E_ELF_MACHINE', 5, 125), [5, 'E_ELF_MACHINE']],
    ['of the other byte order', withByte(EI_DATA, 2), using('E_ELF_MACHINE', 5, 125), [5, 'E_ELF_DATA']],
    ['that is an object file', withByte(E_TYPE, 1), noFormat, undefined],
    ['that is no program', () => writeFileSync(scene.program, 'words\n'), noFormat, [4, 'E_NOT_ELF']],
    ['that is cut off', () => edit(scene.program, cutTo(40)), [], [4, 'E_ELF_TRUNCATED']],
    ['that may not be executed', () => chmodSync(scene.program, 0o644), notExecutable, undefined],
    [
      'that is gone',
      () => rmSync(scene.program),
      using('E_PROGRAM_NOT_FOUND', 127, 127),
      [4, 'E_FILE_NOT_READABLE'],
    ],
    ['in whose place stands a folder', folderInstead, notExecutable, [4, 'E_FILE_NOT_READABLE']],
  ])('%s', (_what, damage, cases, inspected) => {
    refuses(cases, damage);
    if (inspected === undefined) return;
    const [status, code] = inspected;
    it(`winnow inspect: ${status} ${code}`, () => {
      damage();
      expectRefusal(runWinnow(['inspect', scene.program]), status, code);
      expectRefusal(runWinnow(['inspect', '--json', scene.program]), status, code);
    });
  });
});

describe('what may not be read', () => {
  /** Root reads all, unless it has given that right up. */
  const words = isRoot ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--'] : [];
  const bound = ({ command, words: rest }: Line): Ran => {
    const [file = '', ...more] = [...words, WINNOW, ...command.split(' '), '--store', scene.store, ...rest];
    const { status, signal, stdout, stderr } = spawnSync(file, more, { encoding: 'utf8', cwd: scene.cwd });
    return { status, signal, stdout, stderr };
  };

  it.each<[string, Line, number, string, () => string, number]>([
    ['a profile', line('report', 'one'), 3, 'E_STORE_DENIED', () => scene.profileFile, 0],
    ['the profiles', line('profile list'), 3, 'E_STORE_DENIED', () => scene.path('profiles'), 0],
    ['the store', line('report'), 3, 'E_STORE_DENIED', () => scene.store, 0],
    [
      'a manifest',
      line('image show', 'one'),
      3,
      'E_STORE_DENIED',
      () => join(scene.image, 'manifest.json'),
      0,
    ],
    ['a plan', line('image show', 'one'), 3, 'E_STORE_DENIED', () => join(scene.image, 'plan.bin'), 0],
    ['an image', line('image show', 'one'), 3, 'E_STORE_DENIED', () => scene.image, 0],
    ['a program', line('build', '--name', 'one'), 126, 'E_PROGRAM_NOT_READABLE', () => scene.program, 0o111],
    ['a file to import', line('profile import', scene.data), 4, 'E_CANNOT_READ', () => scene.data, 0],
  ])('%s', (_what, at, status, code, path, mode) => {
    const before = scene.seen();
    const usual = statSync(path()).mode;
    chmodSync(path(), mode);
    expectRefusal(bound(at), status, code);
    chmodSync(path(), usual);
    expect(scene.seen()).toEqual(before);
  });

  it('an ELF file', () => {
    chmodSync(scene.program, 0);
    const [file = '', ...more] = [...words, WINNOW, 'inspect', scene.program];
    const { status, signal, stdout, stderr } = spawnSync(file, more, { encoding: 'utf8' });
    expectRefusal({ status, signal, stdout, stderr }, 4, 'E_FILE_NOT_READABLE');
  });

  it('a file of the plan: it is left out, with the reason', () => {
    chmodSync(scene.data, 0);
    const ran = bound(line('build', '--name', 'one'));
    chmodSync(scene.data, 0o600);
    expect(ran.status, ran.stderr).toBe(0);
    expect(ran.stdout).toContain(`1 file, 5 pages: may not be read by you (${scene.data})`);
  });
});

describe('a full disk', () => {
  const disk = join(scene.folder, 'disk');
  mkdirSync(disk);
  const mayMount =
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=100k,mode=700', 'winnow', disk]).status === 0;
  afterAll(() => void (mayMount && spawnSync('umount', ['-l', disk])));

  it.skipIf(!process.env.CI && !mayMount)(
    'while an image is built: the old one stays as it was (needs the right to mount)',
    () => {
      expect(mayMount).toBe(true);
      spawnSync('cp', ['-a', scene.store, join(disk, 'store')]);
      const free = spawnSync('df', ['--output=avail', '-k', disk], { encoding: 'utf8' });
      // Room for a manifest, not for a launcher.
      writeFileSync(join(disk, 'filler'), Buffer.alloc((Number(free.stdout.split('\n')[1]) - 8) * 1024));
      const seen = (): string => spawnSync('find', [join(disk, 'store'), '-ls'], { encoding: 'utf8' }).stdout;
      const before = seen();
      const ran = runWinnow(['build', '--store', join(disk, 'store'), '--name', 'one']);
      expectRefusal(ran, 3, 'E_IMAGE_FULL');
      const withoutTimes = (text: string): string => text.replace(/[A-Z][a-z]{2} +\d+ +\d+:\d+/g, '');
      expect(withoutTimes(seen())).toBe(withoutTimes(before));
      rmSync(join(disk, 'filler'));
      expect(runWinnow(['build', '--store', join(disk, 'store'), '--name', 'one']).status).toBe(0);
    },
  );
});

describe('a program replaced since it was recorded', () => {
  const replace = (path: string): void => {
    rmSync(scene.program);
    copyFileSync(realpathSync(path), scene.program);
  };

  it('runs as what it is now, and the report says so', () => {
    replace('/bin/false');
    const ran = run(line('run', '--', scene.program, 'x'));
    expect([ran.status, ran.stdout, ran.stderr]).toEqual([1, '', '']);
    const { files } = JSON.parse(run(line('report', 'one', '--json')).stdout);
    const states = files.map((file: { path: string; state: string }) => [file.path, file.state]);
    expect(states).toContainEqual([scene.program, 'changed']);
    expect(states).toContainEqual([scene.data, 'same']);
    const verified = run(line('verify', '--', scene.program, 'x'));
    expect([verified.status, verified.stdout]).toEqual([0, expect.stringMatching(/^same: /)]);
  });

  it('is left out of a new image, with the reason', () => {
    replace('/bin/false');
    const built = run(line('build', '--name', 'one'));
    expect(built.status, built.stderr).toBe(0);
    expect(built.stdout).toContain(`1 file, 5 pages: another content than recorded (${scene.program})`);
    const { plan } = JSON.parse(run(line('image show', 'one', '--json')).stdout);
    expect(plan.files.map((file: { path: string }) => file.path)).toEqual([scene.data]);
  });

  it('by the same content is the same', () => {
    replace('/bin/true');
    expect(run(line('build', '--name', 'one')).stdout).toContain(
      '1 file installed anew with the same content',
    );
    expect(run(line('report', 'one')).stdout).not.toContain('changed');
  });
});
