import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { diskFolder, extent, isRoot, profileOf } from '../../test/launch-scene.ts';
import { WinnowError } from '../base/errors.ts';
import type { BuiltSelect } from '../select/model.ts';
import { buildImage, buildImageWith } from './build.ts';
import { dropImage, findImage, listImages, readImage, readPlan } from './images.ts';
import { defaultCommandName, installImage, onPath } from './install.ts';
import { parseManifest } from './manifest.ts';
import { decodeModules } from './modules-decode.ts';

const folder = diskFolder();
const imagesDir = join(folder, 'store', 'images');
const dirs = [imagesDir];
const program = '/bin/true';
const data = join(folder, 'data');
writeFileSync(data, Buffer.alloc(40_960, 1));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => rmSync(join(folder, 'store'), { recursive: true, force: true }));

const profile = (name: string, argv: readonly string[] = ['true', 'a'], count = 5) =>
  profileOf({ name, program, argv, files: [{ path: data, extents: [extent(1, count)] }] });

const build = (name: string, argv?: readonly string[], count?: number) =>
  buildImage(profile(name, argv, count), { imagesDir, gapPages: 0 });

const code = (name: string) => expect.objectContaining({ code: name });

/** What is in the folder of images beside the lock. */
const entries = (): string[] => readdirSync(imagesDir).filter((name) => name !== '.lock');
const versions = (): string[] => entries().filter((name) => name.startsWith('.'));

describe('buildImage', () => {
  it('makes a folder with all that the launcher needs', () => {
    const image = build('one');
    expect(readdirSync(image.path).sort()).toEqual([
      'argv',
      'command',
      'launch',
      'manifest.json',
      'plan.bin',
      'program',
    ]);
    expect(readlinkSync(join(image.path, 'program'))).toBe(program);
    expect(readFileSync(join(image.path, 'argv'), 'utf8')).toBe('true\0a\0');
    expect(statSync(join(image.path, 'command')).ino).toBe(statSync(join(image.path, 'launch')).ino);
    expect(readPlan(image).files[0]).toMatchObject({ path: data, extents: [extent(1, 5)] });
    expect(readImage(dirs, 'one').manifest).toEqual(image.manifest);
    expect(image.manifest.inputs).toHaveLength(1);
    expect(spawnSync(join(image.path, 'launch')).status).toBe(0);
  });

  it('keeps everybody else out, whatever the umask', () => {
    const umask = process.umask(0);
    try {
      const image = build('private');
      for (const name of ['argv', 'launch', 'manifest.json', 'plan.bin', '.']) {
        expect(statSync(join(image.path, name)).mode & 0o077, name).toBe(0);
      }
    } finally {
      process.umask(umask);
    }
  });

  it('shares an image as far as the store is shared, never for writing', () => {
    mkdirSync(imagesDir, { recursive: true });
    chmodSync(join(folder, 'store'), 0o755);
    chmodSync(imagesDir, 0o755);
    const image = build('shared');
    const mode = (name: string): number => statSync(join(image.path, name)).mode & 0o777;
    expect(['.', 'launch', 'plan.bin'].map(mode)).toEqual([0o755, 0o755, 0o644]);
  });

  it('replaces an image by the turn of one link; the old one stays for launchers under way', () => {
    const old = realpathSync(build('again').path);
    const image = build('again', ['true', 'a'], 7);
    expect(readPlan(image).files[0]?.extents).toEqual([extent(1, 7)]);
    expect(spawnSync(join(old, 'launch')).status).toBe(0);
    utimesSync(old, 1, 1);
    build('again');
    expect(versions()).toHaveLength(2);
    expect(versions().map((name) => join(imagesDir, name))).not.toContain(old);
  });

  it('removes what a killed build left', () => {
    build('one');
    mkdirSync(join(imagesDir, '.one@0123456789ab.tmp'));
    writeFileSync(join(imagesDir, '.one@0123456789ab.tmp', 'launch'), 'half');
    symlinkSync('.one@0123456789ab', join(imagesDir, '.other@0123456789ab.link'));
    build('two');
    expect(entries().filter((name) => /tmp|link/.test(name))).toEqual([]);
    expect(entries()).toHaveLength(4);
  });

  it('leaves the old image as it was when it fails', () => {
    build('one');
    const before = readlinkSync(join(imagesDir, 'one'));
    const gone = profileOf({ name: 'one', program: '/nowhere', argv: ['x'], files: [] });
    expect(() => buildImage(gone, { imagesDir })).toThrow(code('E_PROGRAM_NOT_FOUND'));
    expect(() => buildImage({ name: 'one', runs: [] }, { imagesDir })).toThrow(code('E_NO_PROFILE'));
    const { path } = readImage(dirs, 'one');
    const launcher = profileOf({ name: 'one', program: join(path, 'launch'), argv: ['x'], files: [] });
    expect(() => buildImage(launcher, { imagesDir })).toThrow(code('E_PROGRAM_IS_LAUNCHER'));
    expect(readlinkSync(join(imagesDir, 'one'))).toBe(before);
    expect(entries()).toHaveLength(2);
  });

  it('refuses a store that others can write', () => {
    build('one');
    chmodSync(imagesDir, 0o777);
    expect(() => build('two')).toThrow(code('E_STORE_WRITABLE'));
    expect(() => readImage(dirs, 'one')).toThrow(code('E_STORE_WRITABLE'));
  });

  it.skipIf(!process.env.CI && !isRoot)(
    'writes nothing half when the disk is full (needs root to mount one)',
    () => {
      const disk = join(folder, 'full');
      mkdirSync(disk, { recursive: true });
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=40k,mode=700', 'none', disk]).status).toBe(0);
      try {
        const images = join(disk, 'images');
        buildImage(profile('one'), { imagesDir: images });
        const before = readlinkSync(join(images, 'one'));
        expect(() => {
          for (let i = 0; i < 20; i += 1) buildImage(profile(`more${i}`), { imagesDir: images });
        }).toThrow(code('E_IMAGE_FULL'));
        expect(() => buildImage(profile('one'), { imagesDir: images })).toThrow(code('E_IMAGE_FULL'));
        expect(readlinkSync(join(images, 'one'))).toBe(before);
        expect(readdirSync(images).filter((name) => /tmp|\.link/.test(name))).toEqual([]);
        expect(listImages([images]).every(({ manifest }) => !(manifest instanceof WinnowError))).toBe(true);
      } finally {
        spawnSync('umount', [disk]);
      }
    },
  );

  it('is whole for launchers that start while it is being replaced', async () => {
    const { path } = build('busy');
    const starts: ChildProcess[] = [];
    const ends: Promise<number | null>[] = [];
    for (let round = 0; round < 12; round += 1) {
      for (let i = 0; i < 4; i += 1) {
        const child = spawn(join(path, 'command'), [], { stdio: 'ignore' });
        starts.push(child);
        ends.push(new Promise((resolve) => child.once('exit', resolve)));
      }
      build('busy', ['true'], 1 + (round % 5));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(new Set(await Promise.all(ends))).toEqual(new Set([0]));
  });
});

describe('buildImageWith', () => {
  const figures = {
    textPages: 9,
    hotPages: 1,
    addedReadOnlyPages: 2,
    units: 30,
    clonedUnits: 3,
    jumpTables: 0,
    clonedJumpTables: 0,
    patchedReferences: 4,
    patchedRelocations: 0,
    patchedSymbols: 0,
  };
  const use = { textPages: 9, touchedPages: 5, usedPages: 4, functions: 30, usedFunctions: 3 };

  /** Stands for the rewriting: page 12 is new, pages 1 and 2 were code. */
  const select = async (stage: string): Promise<BuiltSelect> => {
    const path = join(stage, '00-data');
    writeFileSync(path, Buffer.alloc(13 * 4096), { mode: 0o644 });
    const { ino, mtimeNs } = statSync(path, { bigint: true });
    const pages = { dropped: [extent(1, 2)], added: [extent(12, 1)] };
    const file = {
      file: '00-data',
      fileSize: 13 * 4096,
      fileMtimeNs: mtimeNs,
      fileInode: ino,
      usesOrigin: false,
      figures,
      pages,
    };
    const module = {
      path: data,
      size: 40_960,
      mtimeNs: 1n,
      inode: 2n,
      hot: [],
      stayed: [],
      stayedPages: 0,
      ...use,
      ...file,
    };
    return {
      cold: 'file',
      modules: [module],
      kept: [{ path: '/lib/ld.so', reason: 'the loader', textPages: 40 }],
    };
  };

  it('takes rewritten modules along, and fetches them in place of the originals', async () => {
    const image = await buildImageWith(profile('both'), { imagesDir, gapPages: 0 }, select);
    expect(entries().filter((name) => name.includes('stage'))).toEqual([]);
    const { techniques, select: told } = readImage(dirs, 'both').manifest;
    expect(techniques).toEqual(['prefetch', 'select']);
    expect(told).toMatchObject({ cold: 'file', modules: [{ path: data, file: '00-data', ...use }] });
    const [file] = readPlan(image).files;
    expect(file?.path).toBe(join(realpathSync(image.path), '00-data'));
    expect(file?.extents).toEqual([extent(3, 3), extent(12, 1)]);
    expect(file?.inode).toBe(statSync(file?.path ?? '', { bigint: true }).ino);
    const table = decodeModules(readFileSync(join(image.path, 'modules.bin')), 'modules.bin');
    const identity = { size: 40_960, mtimeNs: 1n, inode: 2n };
    expect(table.modules).toEqual([
      {
        path: data,
        identity,
        replacement: '00-data',
        replacementSize: 13 * 4096,
        role: 'library',
        usesOrigin: false,
      },
    ]);
    expect(spawnSync(join(image.path, 'launch')).status).toBe(0);
  });

  it('reads what an older winnow built, which knew no such modules', () => {
    const { manifest } = build('old');
    const older = { ...manifest, version: 1 };
    expect(parseManifest(JSON.stringify(older), 'manifest.json')).toEqual(older);
  });

  it('can leave the prefetch away', async () => {
    const image = await buildImageWith(profile('only'), { imagesDir, prefetch: false }, select);
    expect(image.manifest.techniques).toEqual(['select']);
    expect(readPlan(image)).toMatchObject({ files: [], lookups: [], tasks: [], probes: [] });
  });

  it('leaves nothing where the rewriting fails', async () => {
    build('one');
    const before = entries();
    const fails = async (stage: string): Promise<BuiltSelect> => {
      await select(stage);
      throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
    };
    await expect(buildImageWith(profile('one'), { imagesDir }, fails)).rejects.toThrow(code('E_IMAGE_FULL'));
    expect(entries()).toEqual(before);
  });

  it('lets builds beside it alone, and removes what a killed one left', async () => {
    mkdirSync(join(imagesDir, '.one@0123456789ab.stage', 'modules'), { recursive: true });
    chmodSync(join(folder, 'store'), 0o700);
    chmodSync(imagesDir, 0o700);
    const meanwhile = async (stage: string): Promise<BuiltSelect> => {
      build('other');
      return select(stage);
    };
    await buildImageWith(profile('one'), { imagesDir }, meanwhile);
    expect(entries().filter((name) => name.includes('stage'))).toEqual([]);
    expect(listImages(dirs).map(({ name }) => name)).toEqual(['one', 'other']);
  });
});

describe('finding images', () => {
  it('lists them, broken ones with their error', () => {
    build('b');
    build('a');
    build('broken');
    writeFileSync(join(imagesDir, 'broken', 'manifest.json'), '{"winnow":"image","version":1}');
    build('newer');
    writeFileSync(join(imagesDir, 'newer', 'manifest.json'), '{"winnow":"image","version":4}');
    const listed = listImages(dirs).map(({ name, manifest }) => [
      name,
      manifest instanceof WinnowError ? manifest.code : 'good',
    ]);
    expect(listed).toEqual([
      ['a', 'good'],
      ['b', 'good'],
      ['broken', 'E_IMAGE_DAMAGED'],
      ['newer', 'E_IMAGE_NEWER'],
    ]);
    expect(() => readImage(dirs, 'c')).toThrow(code('E_NO_IMAGE'));
    expect(listImages([join(folder, 'nowhere')])).toEqual([]);
  });

  it('finds the one built for a command, else the only one of the program', () => {
    build('true-a', ['true', 'a']);
    const command = (...argv: readonly string[]) => ({ program, argv, cwd: '/' });
    expect(findImage(dirs, command('true', 'a')).name).toBe('true-a');
    expect(findImage(dirs, command('true', 'other')).name).toBe('true-a');
    build('named', ['true', 'b']);
    expect(findImage(dirs, command('true', 'b')).name).toBe('named');
    expect(() => findImage(dirs, command('true', 'c'))).toThrow(code('E_NO_IMAGE'));
    expect(() => findImage(dirs, { program: '/bin/false', argv: ['false'], cwd: '/' })).toThrow(
      code('E_NO_IMAGE'),
    );
  });

  it('finds one under a name that a person gave: the one built last', () => {
    const command = { program, argv: ['true', 'a'], cwd: '/' };
    for (const [name, builtAt] of [
      ['first', 1],
      ['second', 3],
      ['third', 2],
    ] as const) {
      const path = join(build(name).path, 'manifest.json');
      writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), builtAt }));
    }
    build('broken');
    writeFileSync(join(imagesDir, 'broken', 'manifest.json'), '');
    expect(findImage(dirs, command).name).toBe('second');
    build('true-a');
    expect(findImage(dirs, command).name).toBe('true-a');
  });

  it('drops one with all its versions', () => {
    build('one');
    build('one');
    build('two');
    dropImage(imagesDir, 'one');
    expect(listImages(dirs).map(({ name }) => name)).toEqual(['two']);
    expect(entries()).toHaveLength(2);
    expect(() => dropImage(imagesDir, 'one')).toThrow(code('E_NO_IMAGE'));
    expect(() => dropImage(imagesDir, '../store')).toThrow(code('E_BAD_NAME'));
  });
});

describe('installImage', () => {
  const bin = join(folder, 'bin');
  const options = { dir: bin, as: 'tool', withArguments: false, force: false };
  beforeEach(() => rmSync(bin, { recursive: true, force: true }));

  it('links the launcher, which still works when the image is built anew', () => {
    const image = build('one');
    const { path } = installImage(image, options);
    expect(readlinkSync(path)).toBe(join(imagesDir, 'one', 'launch'));
    build('one');
    expect(spawnSync(path).status).toBe(0);
    expect(installImage(image, { ...options, withArguments: true }).target).toBe(
      join(imagesDir, 'one', 'command'),
    );
    expect(readdirSync(bin)).toEqual(['tool']);
  });

  it('replaces nothing that is not ours, unless it is told to', () => {
    const image = build('one');
    mkdirSync(bin);
    writeFileSync(join(bin, 'tool'), 'mine');
    expect(() => installImage(image, options)).toThrow(code('E_INSTALL_EXISTS'));
    expect(readFileSync(join(bin, 'tool'), 'utf8')).toBe('mine');
    installImage(image, { ...options, force: true });
    expect(lstatSync(join(bin, 'tool')).isSymbolicLink()).toBe(true);
    mkdirSync(join(bin, 'folder'));
    expect(() => installImage(image, { ...options, as: 'folder', force: true })).toThrow(
      code('E_INSTALL_EXISTS'),
    );
    symlinkSync('/bin/ls', join(bin, 'link'));
    expect(() => installImage(image, { ...options, as: 'link' })).toThrow(code('E_INSTALL_EXISTS'));
    expect(() => installImage(image, { ...options, as: 'a/b' })).toThrow(code('E_USAGE'));
    expect(() => installImage(image, { ...options, dir: '/proc/none' })).toThrow(code('E_INSTALL_WRITE'));
  });

  it('takes the program’s name, or the image’s where arguments belong to it', () => {
    const image = build('one');
    expect(defaultCommandName(image, false)).toBe('true');
    expect(defaultCommandName(image, true)).toBe('one');
  });

  it('knows whether a shell will find it', () => {
    mkdirSync(bin);
    expect(onPath(bin, 'true', '/usr/bin:/bin')).toEqual({ found: false });
    expect(onPath(bin, 'true', `${bin}:/usr/bin`)).toEqual({ found: true });
    expect(onPath(bin, 'true', `/usr/bin:${bin}`)).toEqual({ found: true, before: '/usr/bin/true' });
  });
});
