/** `winnow build`, `run`, `image show` and `doctor` about modules that are shown. Needs dist/ (npm run build). */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { pageIndex } from '../src/base/brands.ts';
import { buildImageWith } from '../src/image/build.ts';
import { dropImage } from '../src/image/images.ts';
import type { ShowMode } from '../src/image/modules-model.ts';
import type { BuiltModule, BuiltSelect } from '../src/select/model.ts';
import { profileOf } from './launch-scene.ts';
import { AS_NOBODY, asRoot, ModulesScene } from './modules-scene.ts';
import { codeOf, winnowOn } from './support/winnow.ts';

const scene = new ModulesScene();
const { program, library } = scene;
const store = join(scene.folder, 'store');
const imagesDir = join(store, 'images');
const on = winnowOn(store);
const winnow = (command: string, ...words: readonly string[]) => on(command, words);
afterAll(() => scene.drop());

const none = {
  ...{ textPages: 0, touchedPages: 0, usedPages: 0, functions: 0, usedFunctions: 0 },
  ...{
    hot: [],
    stayed: [],
    stayedPages: 0,
    usesOrigin: false,
    pages: { dropped: [], added: [], headers: pageIndex(0) },
  },
  figures: {
    ...{ textPages: 0, hotPages: 0, addedReadOnlyPages: 0, units: 0, clonedUnits: 0, jumpTables: 0 },
    ...{ clonedJumpTables: 0, patchedReferences: 0, patchedRelocations: 0, patchedSymbols: 0 },
  },
};

/** Stands for the rewriting: the second edition of the library. */
const select = async (folder: string): Promise<BuiltSelect> => {
  const path = join(folder, '00-library');
  copyFileSync(scene.second.library, path);
  chmodSync(path, 0o755);
  const [original, copy] = [library, path].map((file) => statSync(file, { bigint: true }));
  if (original === undefined || copy === undefined) throw new Error('no library');
  const module: BuiltModule = {
    path: library,
    size: Number(original.size),
    mtimeNs: original.mtimeNs,
    inode: original.ino,
    file: '00-library',
    fileSize: Number(copy.size),
    fileMtimeNs: copy.mtimeNs,
    fileInode: copy.ino,
    ...none,
  };
  return { cold: 'file', modules: [module], kept: [] };
};

const build = (show?: ShowMode) =>
  buildImageWith(
    profileOf({ name: 'shown', program, argv: ['shown'], files: [] }),
    { imagesDir, ...(show === undefined ? {} : { show }) },
    { select },
  );

beforeEach(async () => {
  rmSync(store, { recursive: true, force: true });
  mkdirSync(store, { mode: 0o755 });
  mkdirSync(imagesDir, { mode: 0o755 });
  await build();
});

describe('winnow run --show', () => {
  const expectEdition = (show: ShowMode, edition: string) => {
    const ran = winnow('run', '--show', show, '--', program);
    expect([ran.status, ran.stderr]).toEqual([0, '']);
    expect(ran.stdout).toContain(`library ${edition}`);
  };

  it('audit: the library is the second', () => expectEdition('audit', 'second'));
  it('plain: the library is the first', () => expectEdition('plain', 'first'));
  it.skipIf(!asRoot)('mounts: the library is the second (needs root)', () =>
    expectEdition('mounts', 'second'),
  );

  it('leaves no variable to the program', () => {
    const { stdout } = winnow('run', '--show', 'audit', '--', program, 'env');
    const ours = [...stdout.matchAll(/^((?:WINNOW|LD_)[^=]*)=/gm)].map(([, name = '']) => name);
    expect(ours.filter((name) => process.env[name] === undefined)).toEqual([]);
    expect(stdout).toContain('PATH=');
  });

  it('refuses what it does not know', () => {
    const ran = winnow('run', '--show', 'otherwise', '--', program);
    expect([ran.status, codeOf(ran)]).toEqual([2, 'E_USAGE']);
    const built = winnow('build', '--show', 'otherwise');
    expect([built.status, codeOf(built)]).toEqual([2, 'E_USAGE']);
  });
});

describe('an image', () => {
  const shown = () => winnow('image show', 'shown').stdout.match(/^modules .*\n( {11}\d.*\n)*/m)?.[0];

  it('says how its modules are shown', async () => {
    await build('plain');
    expect(shown()).toContain('1 of 1 module would be shown now (plain)');
    expect(spawnSync(join(imagesDir, 'shown', 'launch'), { encoding: 'utf8' }).stdout).toContain(
      'library first',
    );
  });

  it('says which modules keep their originals, and why', async () => {
    expect(shown()).toContain('1 of 1 module would be shown now (auto)');
    utimesSync(library, 1, 1);
    expect(shown()).toBe(
      `modules    0 of 1 module would be shown now (auto)\n           1: the original has changed (${library})\n`,
    );
    const { modules } = JSON.parse(winnow('image show', 'shown', '--json').stdout);
    expect(modules).toMatchObject({
      show: 'auto',
      modules: [{ path: library, leftOut: 'the original has changed' }],
    });
    await build();
    chmodSync(join(imagesDir, 'shown', '00-library'), 0o777);
    expect(shown()).toContain('others could have written its copy');
    writeFileSync(join(imagesDir, 'shown', '00-library'), '');
    expect(shown()).toContain('its copy is damaged');
  });

  it.each(['modules.bin', 'audit.so'])(
    'is damaged without its %s; the program starts all the same',
    (part) => {
      rmSync(join(imagesDir, 'shown', part));
      for (const words of [
        ['image show', 'shown'],
        ['install', 'shown', '--dir', join(scene.folder, 'bin')],
      ]) {
        const [command = '', ...rest] = words;
        const ran = winnow(command, ...rest);
        expect([ran.status, codeOf(ran)]).toEqual([4, 'E_IMAGE_DAMAGED']);
      }
      expect(spawnSync(join(imagesDir, 'shown', 'launch'), { encoding: 'utf8' }).status).toBe(0);
    },
  );

  it('is refused where others could have written its table', () => {
    chmodSync(join(imagesDir, 'shown', 'modules.bin'), 0o666);
    const ran = winnow('image show', 'shown');
    expect([ran.status, codeOf(ran)]).toEqual([3, 'E_STORE_WRITABLE']);
  });
});

describe('an image that programs still use', () => {
  /** Builds anew, and once more as if the first had been replaced long ago. */
  const replaceTwice = async (old: string) => {
    await build();
    utimesSync(old, 1, 1);
    await build();
  };

  const expectToStay = async (show: ShowMode) => {
    const old = realpathSync(join(imagesDir, 'shown'));
    const flag = join(scene.folder, 'go');
    rmSync(flag, { force: true });
    const words = [join(old, 'launch'), 'wait', flag];
    const [file = '', ...args] = show === 'audit' ? [...AS_NOBODY, ...words] : words;
    const child = spawn(file, args, { env: { WINNOW_SHOW: show }, stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    await replaceTwice(old);
    expect(existsSync(old)).toBe(true);
    dropImage(imagesDir, 'shown');
    expect(readdirSync(imagesDir).filter((name) => name.includes('@'))).toEqual([old.split('/').at(-1)]);
    writeFileSync(flag, '');
    await once(child, 'close');
    await build();
    expect(existsSync(old)).toBe(false);
  };

  it('stays until they end under audit', () => expectToStay('audit'));
  it.skipIf(!asRoot)('stays until they end in a mount namespace (needs root)', () => expectToStay('mounts'));

  it('goes where nobody uses it', async () => {
    const old = realpathSync(join(imagesDir, 'shown'));
    await replaceTwice(old);
    expect(existsSync(old)).toBe(false);
  });
});

describe('winnow doctor', () => {
  it('says how modules would be shown here', () => {
    const { checks } = JSON.parse(winnow('doctor', '--json').stdout);
    const check = checks.find(({ name }: { name: string }) => name === 'show-modules');
    expect(check).toMatchObject({ state: 'good' });
    expect(check.found).toContain('audit');
    expect(readdirSync(store)).toEqual(['images']);
  });
});
