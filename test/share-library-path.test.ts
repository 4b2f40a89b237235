/** Programs that are linked under LD_LIBRARY_PATH: from an image under that value alone, and only while its folders lead to the same. */
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeLinked } from '../src/share/linked/linked-encode.ts';
import {
  type BuiltImage,
  expectLinked,
  expectPlain,
  expectSame,
  RestoreScene,
  start,
} from './support/restore-scene.ts';

const scene = new RestoreScene();
afterAll(() => scene.remove());
const one = join(scene.folder, 'one');
const empty = join(scene.folder, 'empty');
const VALUE = `${empty}:${one}`;
const under = (value: string) => ({ env: { LD_LIBRARY_PATH: value } });

let program = '';
let image: BuiltImage;

beforeAll(async () => {
  for (const folder of [one, empty]) mkdirSync(folder);
  copyFileSync(scene.library, join(one, 'liblinked.so'));
  program = scene.compile('under-path', '-Wl,--enable-new-dtags');
  image = await scene.build(program, 'files', { libraryPath: VALUE });
});

describe('a program that was linked under LD_LIBRARY_PATH', () => {
  it('has the libraries that are found by it', () => {
    expect(image.image.libraryPath).toBe(VALUE);
    const paths = image.image.files.map(({ path }) => path);
    expect(paths).toContain(join(one, 'liblinked.so'));
    expect(paths).not.toContain(scene.library);
    expect(image.answer()).toBe('good');
  });

  it('starts linked under the same value, whatever else is set', () => {
    expectLinked(image, under(VALUE));
    expectLinked(image, { env: { LD_LIBRARY_PATH: VALUE, L: '1', LIBRARY_PATH: '/nowhere' } });
  });

  it.each([
    ['without it', undefined],
    ['with an empty one', ''],
    ['with a longer one', `${VALUE}:`],
    ['with a shorter one', VALUE.slice(0, -1)],
    ['with another order', `${one}:${empty}`],
  ])('starts plainly %s', (_what, value) => {
    expectPlain(image, value === undefined ? {} : under(value));
  });

  it.each(['LD_BIND_NOW', 'LD_PRELOAD', 'LD_AUDIT', 'LD_LIBRARY_PATH_64', 'GLIBC_TUNABLES'])(
    'starts plainly with %s beside it',
    (name) => {
      expectPlain(image, { env: { LD_LIBRARY_PATH: VALUE, [name]: '' } });
    },
  );

  it('starts plainly where it is set twice: the loader takes the last', () => {
    const script = `import ctypes, sys
words = lambda *all: (ctypes.c_char_p * (len(all) + 1))(*[word.encode() for word in all], None)
program = sys.argv[1]
ctypes.CDLL(None).execve(program.encode(), words(*sys.argv[1:]), words("SAMPLE=a value", *["LD_LIBRARY_PATH=${VALUE}"] * int(sys.argv.pop(2))))`;
    const times = (count: number) => start('python3', ['-c', script, image.copy, String(count), 'one']);
    expect(image.isFrom(times(1))).toBe(true);
    const twice = times(2);
    expect(twice.base).toBeDefined();
    expect(image.isFrom(twice)).toBe(false);
  });

  it('starts plainly when a library has come to a folder before', () => {
    copyFileSync(scene.library, join(empty, 'liblinked.so'));
    expect(image.answer()).toBe('watch');
    expectPlain(image, under(VALUE));
    rmSync(join(empty, 'liblinked.so'));
    // Few names were looked for there, so these are watched and not the folder.
    expect(image.answer()).toBe('good');
  });

  it('is refused where its header says what nobody wrote', () => {
    const bytes = encodeLinked({ ...image.image, libraryPath: `${VALUE}x` });
    image.with(bytes, () => expectPlain(image, under(VALUE)));
    image.changed({ libraryPath: undefined }, () => {
      expectPlain(image, under(VALUE));
    });
  });

  it('starts a joined image under the same value alone', async () => {
    const joined = await scene.build(program, 'joined', { libraryPath: VALUE });
    expectLinked(joined, under(VALUE));
    expectPlain(joined, under(one));
  });
});

describe('a program that was linked under an empty LD_LIBRARY_PATH', () => {
  it('starts linked under an empty one alone', async () => {
    const built = await scene.build(program, 'files', { libraryPath: '' });
    expect(built.image.files.map(({ path }) => path)).toContain(scene.library);
    expectLinked(built, under(''));
    expectPlain(built);
    expectPlain(built, under(one));
  });
});

describe('a program whose LD_LIBRARY_PATH', () => {
  it.each([
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the loader's
    ['has a $', '${ORIGIN}/one', 'LD_LIBRARY_PATH with a $'],
    ['names the current folder', `${empty}:`, 'the loader looks elsewhere in other circumstances'],
    ['names a relative folder', 'lib', 'the loader looks elsewhere in other circumstances'],
    ['leads to no library that fits', join(scene.folder, 'text'), 'the loader complains'],
  ])('%s gets no image', async (_what, value, reason) => {
    if (value.endsWith('text')) {
      mkdirSync(value);
      copyFileSync('/dev/null', join(value, 'liblinked.so'));
    }
    await expect(scene.build(program, 'files', { libraryPath: value })).rejects.toThrow(reason);
    // The program itself starts, or fails, as ever.
    const plain = start(program, [], under(value));
    const copied = start(scene.plainCopy(program, `copy-${value.length}`), [], under(value));
    expectSame({ plain, ours: copied });
  });
});
