/** `winnow build --root DIR --only share`: programs of a copied root file system start linked in there. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readlinkSync, renameSync, rmdirSync, statSync, symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRoot, ShareScene } from './share-scene.ts';
import { codeOf, type Ran, winnowOn } from './support/winnow.ts';

const scene = new ShareScene();
afterAll(() => scene.remove());
const { program, other, library } = scene;

const root = join(scene.folder, 'root');
const STORE = '/var/lib/winnow';
const store = join(root, STORE);

const winnow = (command: string, ...words: readonly string[]): Ran =>
  winnowOn(store)(command, words, { cwd: scene.folder, env: scene.env });

function good(command: string, ...words: readonly string[]): Ran {
  const ran = winnow(command, ...words);
  expect(ran.status, ran.stderr).toBe(0);
  return ran;
}

/** Files and the links that lead to them, as they are on this machine: with their times, on other inodes. */
function copy(...paths: readonly string[]): void {
  // From /: cp looks relative names up when it comes to the folders' own times.
  const done = spawnSync('cp', ['-a', '--parents', ...paths, root], { cwd: '/', encoding: 'utf8' });
  expect(done.stderr).toBe('');
}

const MOUNT_PROC = 'mount --bind /proc "$0/proc"; exec chroot "$0" "$@"';
/** In a chroot that is no mount nothing can be mounted. */
const MOUNT = `mount --bind "$0" "$0"; ${MOUNT_PROC}`;

/** Starts the image's launcher in the root. */
function start(name: string, words: readonly string[], script = MOUNT) {
  const launcher = join(STORE, 'images', name, 'launch');
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    ['--mount', 'sh', '-c', script, root, launcher, ...words],
    { encoding: 'utf8', env: { PATH: process.env.PATH, OWN: 'x' } },
  );
  return { status, stdout, stderr };
}

const build = (name: string, only: string, ...more: readonly string[]): Ran =>
  winnow('build', '--name', name, '--root', root, '--only', only, ...more);

beforeAll(() => {
  for (const name of ['usr', 'proc', STORE, join(STORE, 'images')])
    mkdirSync(join(root, name), { recursive: true, mode: 0o755 });
  for (const name of ['lib', 'lib64']) symlinkSync(`usr/${name}`, join(root, name));
  const libraries = spawnSync('ldd', [program], { encoding: 'utf8' }).stdout.matchAll(
    /(?:=> |^\s*)(\/.*) \(0x/gm,
  );
  const usr = [...libraries].map(([, path]) => path?.replace(/^\/lib/, '/usr/lib') ?? '');
  // /usr/lib64 may be a link's way to the loader, whose file stands elsewhere.
  const files = usr.flatMap((path) => [
    path,
    spawnSync('realpath', [path], { encoding: 'utf8' }).stdout.trim(),
  ]);
  copy(...new Set([program, other, library, ...files]));
  good('record', '-q', '--functions', '--name', 'one', '--', program, 'child', other, 'nothing');
  good('record', '-q', '--name', 'alone', '--', program, 'nothing');
});

describe.runIf(isRoot)('linked programs of another root (root alone can run its loaders)', () => {
  it.each(['share', 'prefetch,share', 'prefetch,select,share'])('start linked, with %s', (only) => {
    const built = build('one', only);
    expect(built.status, built.stderr).toBe(0);
    const { manifest } = JSON.parse(good('image show', 'one', '--json').stdout);
    expect(manifest).toMatchObject({ root, share: { kept: [] } });
    const paths = manifest.share.programs.map(({ path }: { path: string }) => path);
    expect(paths).toEqual([program, other]);
    expect(start('one', ['say'])).toEqual({ status: 5, stdout: expect.any(String), stderr: 'linked\n' });
    const child = start('one', ['child', other, 'say']);
    expect(child).toEqual({ status: 5, stdout: `${other} other x 42 3\n`, stderr: 'linked\n' });
  });

  it('start linked where all is joined in the image', () => {
    const built = build('one', 'share', '--variant', 'joined');
    expect(built.status, built.stderr).toBe(0);
    const child = start('one', ['child', other, 'say']);
    expect(child).toEqual({ status: 5, stdout: `${other} other x 42 3\n`, stderr: 'linked\n' });
  });

  it('have rewritten modules of that root', () => {
    build('one', 'select,share');
    const { manifest } = JSON.parse(good('image show', 'one', '--json').stdout);
    const [libc] = manifest.select.modules;
    expect(libc.path).toMatch(/libc\.so\.6$/);
    expect(libc.inode).toBe(String(statSync(join(root, libc.path)).ino));
    expect(libc.inode).not.toBe(String(statSync(libc.path).ino));
  });

  it('fetch files of that root, their images among them', () => {
    build('alone', 'prefetch,share');
    const { plan } = JSON.parse(good('image show', 'alone', '--json').stdout);
    const paths: string[] = plan.files.map(({ path }: { path: string }) => path);
    const image = paths.filter((path) => path.startsWith(`${STORE}/images/.alone@`));
    expect(image.map((path) => path.split('/').at(-1)).sort()).toEqual([
      'share-00-main',
      'share-00-main.linked',
      'share-00-main.restore',
    ]);
    expect(paths.some((path) => path.endsWith('/libc.so.6'))).toBe(true);
    // It is small: the image has all of it.
    expect(paths).not.toContain(library);
    expect(image.length).toBeLessThan(paths.length);
  });

  it('leave what their images hold out of what is fetched, rewritten or not', () => {
    good('record', '-q', '--functions', '--name', 'alone', '--', program, 'nothing');
    const pagesOf = (only: string, file: RegExp): number => {
      build('alone', only);
      const { plan } = JSON.parse(good('image show', 'alone', '--json').stdout);
      const found = plan.files.find(({ path }: { path: string }) => file.test(path));
      return found.extents.reduce((sum: number, { count }: { count: number }) => sum + count, 0);
    };
    const libc = /libc\.so\.6$/;
    expect(pagesOf('prefetch,share', libc)).toBeLessThan(pagesOf('prefetch', libc));
    const copy = /\d+-libc\.so\.6$/;
    const selected = pagesOf('prefetch,select', copy);
    expect(pagesOf('prefetch,select,share', copy)).toBeLessThan(selected);
    expect(start('alone', ['say'])).toMatchObject({ status: 5, stderr: 'linked\n' });
  });

  it('are executed from the image where nothing can be mounted', () => {
    build('alone', 'share');
    const ran = start('alone', ['self'], MOUNT_PROC);
    expect(ran).toEqual({
      status: 0,
      stdout: expect.stringMatching(/\/direct\/main\n$/),
      stderr: 'linked\n',
    });
  });

  it('start plain when a library in the root has changed, whatever this machine has', () => {
    build('one', 'share');
    utimesSync(library, 1, 1);
    expect(start('one', ['say'])).toMatchObject({ status: 5, stderr: 'linked\n' });
    utimesSync(join(root, library), 1, 1);
    expect(start('one', ['say'])).toMatchObject({ status: 5, stderr: 'plain\n' });
  });

  it.each(['share', 'select,share'])(
    'are refreshed when they would start plainly in the root, with %s',
    (only) => {
      build('one', only);
      winnow('image drop', 'alone');
      const version = () => readlinkSync(join(store, 'images', 'one'));
      const before = version();
      const notes = good('image show', 'one').stdout;
      expect(notes.match(/would start linked now/g)).toHaveLength(2);
      // What happens to this machine's files is nothing to it.
      utimesSync(library, 2, 2);
      expect(good('image refresh', '--stale').stderr).toBe('');
      expect(version()).toBe(before);
      utimesSync(join(root, library), 3, only.length);
      const shown = good('image show', 'one').stdout;
      expect(shown).toContain(`would start by its own loader now: a module has changed: ${library}`);
      expect(good('image refresh', '--stale').stderr).toContain('refreshed one\n');
      expect(version()).not.toBe(before);
      expect(start('one', ['say'])).toMatchObject({ status: 5, stderr: 'linked\n' });
      expect(good('image refresh', '--stale').stderr).toBe('');
    },
  );

  it('are left as they are where their root is not there', () => {
    const moved = `${root}-elsewhere`;
    renameSync(root, moved);
    try {
      const refresh = (...words: readonly string[]): Ran =>
        winnowOn(join(moved, STORE))('image refresh', words, { cwd: scene.folder, env: scene.env });
      const before = readlinkSync(join(moved, STORE, 'images', 'one'));
      const ran = refresh('--stale');
      expect([ran.status, ran.stderr]).toEqual([0, `left one as it is: its root ${root} is not there\n`]);
      const named = refresh('one');
      expect([named.status, codeOf(named)]).toEqual([2, 'E_USAGE']);
      expect(readlinkSync(join(moved, STORE, 'images', 'one'))).toBe(before);
    } finally {
      renameSync(moved, root);
    }
  });

  it('are refused where the image would not be found in the root', () => {
    const outside = scene.winnow('record', '-q', '--name', 'one', '--', program, 'nothing');
    expect(outside.status, outside.stderr).toBe(0);
    const ran = scene.winnow('build', '--name', 'one', '--root', root, '--only', 'share');
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([2, 'E_USAGE', '']);
    expect(ran.stderr).toContain('must lie in their root');
  });

  it('are refused where the root has no place for /proc', () => {
    rmdirSync(join(root, 'proc'));
    const ran = build('one', 'share');
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([2, 'E_USAGE', '']);
    expect(ran.stderr).toContain(`mkdir ${root}/proc`);
    mkdirSync(join(root, 'proc'));
  });
});

describe.runIf(!isRoot)('linked programs of another root', () => {
  it('are refused to whoever cannot run its loaders', () => {
    const ran = build('one', 'share');
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([2, 'E_USAGE', '']);
  });
});
