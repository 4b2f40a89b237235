import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { extent, isRoot, profileOf } from '../../test/launch-scene.ts';
import { errorOf, ImageScene } from '../../test/support/image-scene.ts';
import { pageIndex } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import type { BuiltSelect } from '../select/model.ts';
import { buildImage, buildImageWith } from './build.ts';
import { listImages, readImage, readPlan } from './images.ts';
import { parseManifest } from './manifest.ts';
import { decodeModules } from './modules-decode.ts';

const scene = new ImageScene();
const { folder, imagesDir, program, data } = scene;
const dirs = [imagesDir];
afterAll(() => scene.remove());
beforeEach(() => scene.clear());

const versions = (): string[] => scene.entries().filter((name) => name.startsWith('.'));

describe('buildImage', () => {
  it('makes a folder with all that the launcher needs', () => {
    const image = scene.build('one');
    expect(readdirSync(image.path).sort()).toEqual([
      'argv',
      'command',
      'launch',
      'manifest.json',
      'plan.bin',
      'plan.misses',
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
      const image = scene.build('private');
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
    const image = scene.build('shared');
    const mode = (name: string): number => statSync(join(image.path, name)).mode & 0o777;
    expect(['.', 'launch', 'plan.bin'].map(mode)).toEqual([0o755, 0o755, 0o644]);
  });

  it('replaces an image by the turn of one link; the old one stays for launchers under way', () => {
    const old = realpathSync(scene.build('again').path);
    const image = scene.build('again', ['true', 'a'], 7);
    expect(readPlan(image).files[0]?.extents).toEqual([extent(1, 7)]);
    expect(spawnSync(join(old, 'launch')).status).toBe(0);
    utimesSync(old, 1, 1);
    scene.build('again');
    expect(versions()).toHaveLength(2);
    expect(versions().map((name) => join(imagesDir, name))).not.toContain(old);
  });

  it('removes what a killed build left', () => {
    scene.build('one');
    mkdirSync(join(imagesDir, '.one@0123456789ab.tmp'));
    writeFileSync(join(imagesDir, '.one@0123456789ab.tmp', 'launch'), 'half');
    symlinkSync('.one@0123456789ab', join(imagesDir, '.other@0123456789ab.link'));
    scene.build('two');
    expect(scene.entries().filter((name) => /tmp|link/.test(name))).toEqual([]);
    expect(scene.entries()).toHaveLength(4);
  });

  it('leaves the old image as it was when it fails', () => {
    scene.build('one');
    const before = readlinkSync(join(imagesDir, 'one'));
    const gone = profileOf({ name: 'one', program: '/nowhere', argv: ['x'], files: [] });
    expect(() => buildImage(gone, { imagesDir })).toThrow(errorOf('E_PROGRAM_NOT_FOUND'));
    expect(() => buildImage({ name: 'one', runs: [] }, { imagesDir })).toThrow(errorOf('E_NO_PROFILE'));
    const { path } = readImage(dirs, 'one');
    const launcher = profileOf({ name: 'one', program: join(path, 'launch'), argv: ['x'], files: [] });
    expect(() => buildImage(launcher, { imagesDir })).toThrow(errorOf('E_PROGRAM_IS_LAUNCHER'));
    expect(readlinkSync(join(imagesDir, 'one'))).toBe(before);
    expect(scene.entries()).toHaveLength(2);
  });

  it('refuses a store that others can write', () => {
    scene.build('one');
    chmodSync(imagesDir, 0o777);
    expect(() => scene.build('two')).toThrow(errorOf('E_STORE_WRITABLE'));
    expect(() => readImage(dirs, 'one')).toThrow(errorOf('E_STORE_WRITABLE'));
  });

  it.skipIf(!process.env.CI && !isRoot)(
    'writes nothing half when the disk is full (needs root to mount one)',
    () => {
      const disk = join(folder, 'full');
      mkdirSync(disk, { recursive: true });
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=40k,mode=700', 'none', disk]).status).toBe(0);
      try {
        const images = join(disk, 'images');
        buildImage(scene.profile('one'), { imagesDir: images });
        const before = readlinkSync(join(images, 'one'));
        expect(() => {
          for (let i = 0; i < 20; i += 1) buildImage(scene.profile(`more${i}`), { imagesDir: images });
        }).toThrow(errorOf('E_IMAGE_FULL'));
        expect(() => buildImage(scene.profile('one'), { imagesDir: images })).toThrow(
          errorOf('E_IMAGE_FULL'),
        );
        expect(readlinkSync(join(images, 'one'))).toBe(before);
        expect(readdirSync(images).filter((name) => /tmp|\.link/.test(name))).toEqual([]);
        expect(listImages([images]).every(({ manifest }) => !(manifest instanceof WinnowError))).toBe(true);
      } finally {
        spawnSync('umount', [disk]);
      }
    },
  );

  it('is whole for launchers that start while it is being replaced', async () => {
    const { path } = scene.build('busy');
    const starts: ChildProcess[] = [];
    const ends: Promise<number | null>[] = [];
    for (let round = 0; round < 12; round += 1) {
      for (let i = 0; i < 4; i += 1) {
        const child = spawn(join(path, 'command'), [], { stdio: 'ignore' });
        starts.push(child);
        ends.push(new Promise((resolve) => child.once('exit', resolve)));
      }
      scene.build('busy', ['true'], 1 + (round % 5));
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
    const pages = { dropped: [extent(1, 2)], added: [extent(12, 1)], headers: pageIndex(12) };
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
    const image = await buildImageWith(scene.profile('both'), { imagesDir, gapPages: 0 }, { select });
    expect(scene.entries().filter((name) => name.includes('stage'))).toEqual([]);
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
    const { manifest } = scene.build('old');
    const older = { ...manifest, version: 1 };
    expect(parseManifest(JSON.stringify(older), 'manifest.json')).toEqual(older);
  });

  it('can leave the prefetch away', async () => {
    const image = await buildImageWith(scene.profile('only'), { imagesDir, prefetch: false }, { select });
    expect(image.manifest.techniques).toEqual(['select']);
    expect(readPlan(image)).toMatchObject({ files: [], lookups: [], tasks: [], probes: [] });
  });

  it('leaves nothing where the rewriting fails', async () => {
    scene.build('one');
    const before = scene.entries();
    const fails = async (stage: string): Promise<BuiltSelect> => {
      await select(stage);
      throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
    };
    await expect(buildImageWith(scene.profile('one'), { imagesDir }, { select: fails })).rejects.toThrow(
      errorOf('E_IMAGE_FULL'),
    );
    expect(scene.entries()).toEqual(before);
  });

  it('lets builds beside it alone, and removes what a killed one left', async () => {
    mkdirSync(join(imagesDir, '.one@0123456789ab.stage', 'modules'), { recursive: true });
    chmodSync(join(folder, 'store'), 0o700);
    chmodSync(imagesDir, 0o700);
    const meanwhile = async (stage: string): Promise<BuiltSelect> => {
      scene.build('other');
      return select(stage);
    };
    await buildImageWith(scene.profile('one'), { imagesDir }, { select: meanwhile });
    expect(scene.entries().filter((name) => name.includes('stage'))).toEqual([]);
    expect(listImages(dirs).map(({ name }) => name)).toEqual(['one', 'other']);
  });
});
