/** Whatever is wrong with a linked image, its program starts by its own loader and behaves as ever. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { isRoot, ShareScene } from './share-scene.ts';

const scene = new ShareScene();
afterAll(() => scene.remove());
const { program, library, first, folder } = scene;
const kept = join(folder, 'kept');

beforeAll(() => {
  scene.good('record', '-q', '--name', 'one', '--', program, 'nothing');
  scene.good('build', '--name', 'one', '--only', 'share');
  cpSync(join(scene.store, 'images'), kept, { recursive: true, preserveTimestamps: true });
});

const linked = (): string => join(scene.image('one'), 'share-00-main.linked');
const restore = (): string => join(scene.image('one'), 'share-00-main.restore');

interface Started {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(env: NodeJS.ProcessEnv = {}, shell = ''): Started {
  const words = ['--norc', '-c', `${shell} exec -a main "$0" say`, scene.launcher('one')];
  const { status, stdout, stderr } = spawnSync('bash', words, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, OWN: 'x', ...env },
  });
  return { status, stdout, stderr };
}

const SAID = 'main main x 42 3\n';
const LINKED = { status: 5, stdout: SAID, stderr: 'linked\n' };
const PLAIN = { status: 5, stdout: SAID, stderr: 'plain\n' };

/** Contents and times of the image's files, which a fault may have changed. */
function putBack(): void {
  const version = readlinkSync(scene.image('one'));
  for (const name of ['share-00-main.linked', 'share-00-main.restore', 'share-00-main', 'direct']) {
    rmSync(join(scene.store, 'images', version, name), { recursive: true, force: true });
    cpSync(join(kept, version, name), join(scene.store, 'images', version, name), {
      recursive: true,
      preserveTimestamps: true,
    });
  }
}

/** What stat says of the path is as before when `work` is done, to the nanosecond. */
function withTimes(path: string, work: () => void): void {
  const times = join(folder, 'times');
  const touch = (from: string, to: string): void =>
    expect(spawnSync('touch', ['-r', from, to]).status).toBe(0);
  touch(path, times);
  try {
    work();
  } finally {
    touch(times, path);
  }
}

const shown = (): string => scene.good('image show', 'one').stdout;

describe('a linked program starts plainly', () => {
  afterEach(() => {
    putBack();
    expect(start()).toEqual(LINKED);
  });

  it('where a library has another time, and says so', () => {
    withTimes(library, () => {
      utimesSync(library, 1, 1);
      expect(start()).toEqual(PLAIN);
      expect(shown()).toContain(`its own loader now: a module has changed: ${library}`);
    });
  });

  it('where a library has come under the name of another', () => {
    const aside = `${library}.aside`;
    renameSync(library, aside);
    copyFileSync(aside, library);
    try {
      expect(start()).toEqual(PLAIN);
    } finally {
      renameSync(aside, library);
    }
  });

  it('where a library is gone: the loader’s own complaint', () => {
    const aside = `${library}.aside`;
    renameSync(library, aside);
    try {
      const plain = spawnSync(program, ['say'], { encoding: 'utf8', argv0: 'main' });
      const { status, stderr } = start();
      expect(status).toBe(127);
      expect(stderr.replaceAll(/^main:|^\S+main:/gm, 'main:')).toBe(
        plain.stderr.replaceAll(/^main:|^\S+main:/gm, 'main:'),
      );
    } finally {
      renameSync(aside, library);
    }
  });

  it('where a library has come in a folder that is searched before, and is used', () => {
    const before = join(first, 'libown.so');
    writeFileSync(join(folder, 'seven.c'), 'int own(int x) { return x * 7; }\n');
    withTimes(first, () => {
      scene.gcc('-shared', '-fPIC', '-o', before, 'seven.c');
      expect(start()).toEqual({ status: 5, stdout: 'main main x 49 3\n', stderr: 'plain\n' });
      expect(shown()).toMatch(/something has changed where libraries are looked for: .*first/);
      expect(shown()).toMatch(/^ +has come: .*first\/libown\.so$/m);
      rmSync(before);
    });
  });

  it.each([
    ['LD_LIBRARY_PATH', '/nowhere'],
    ['LD_BIND_NOW', '1'],
    ['LD_PRELOAD', ''],
    ['GLIBC_TUNABLES', 'glibc.malloc.check=0'],
    ['MALLOC_ARENA_MAX', '1'],
  ])('where %s is set', (name, value) => {
    expect(start({ [name]: value })).toEqual(PLAIN);
  });

  it('where the limit of the stack is another', () => {
    expect(start({}, 'ulimit -s 1024;')).toEqual(PLAIN);
    expect(start({}, 'ulimit -s unlimited;')).toEqual(PLAIN);
  });

  it('but not for other ordinary limits of the stack', () => {
    for (const kib of [4096, 16_385, 65_536]) expect(start({}, `ulimit -s ${kib};`)).toEqual(LINKED);
  });

  it('where the image is missing, cut off, damaged, or others may write it', () => {
    rmSync(linked());
    expect(start()).toEqual(PLAIN);
    expect(shown()).toContain('its own loader now: the linked image is missing');
    putBack();
    truncateSync(linked(), 8192);
    expect(start()).toEqual(PLAIN);
    putBack();
    for (const at of [0, 9, 40, 80, 200, 400]) {
      const bytes = readFileSync(linked());
      bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
      writeFileSync(linked(), bytes);
      expect(start(), `byte ${at}`).toEqual(PLAIN);
      expect(shown(), `byte ${at}`).toContain('its own loader now');
      putBack();
    }
    chmodSync(linked(), 0o666);
    expect(start()).toEqual(PLAIN);
  });

  it('where the launcher that its copy names is missing', () => {
    rmSync(restore());
    expect(start()).toEqual(PLAIN);
  });

  it('where the program has changed', () => {
    withTimes(program, () => {
      utimesSync(program, 1, 1);
      expect(start()).toEqual(PLAIN);
      expect(shown()).toContain('its own loader now: the program has changed');
    });
  });
});

describe('a program with a sanitizer', () => {
  it('is kept where the sanitizer looks at addresses, and says so', () => {
    writeFileSync(join(folder, 'race.c'), '#include <stdio.h>\nint main(void) { return puts("ran") < 0; }\n');
    scene.gcc('-fsanitize=thread', '-o', join(folder, 'race'), 'race.c');
    scene.winnow('record', '-q', '--name', 'race', '--', join(folder, 'race'));
    const built = scene.good('build', '--name', 'race', '--only', 'share').stdout;
    expect(built).toMatch(/^ {2}1 program: a sanitizer allows it no memory at other addresses/m);
    const plain = spawnSync(join(folder, 'race'), { encoding: 'utf8' });
    const ran = spawnSync(scene.launcher('race'), { encoding: 'utf8' });
    expect([ran.status, ran.stdout]).toEqual([plain.status, plain.stdout]);
  });
});

describe.runIf(isRoot)('in a root of its own', () => {
  const root = join(folder, 'root');
  const COPIED = ['/usr/lib/x86_64-linux-gnu/libc.so.6', '/lib64/ld-linux-x86-64.so.2'];

  beforeAll(() => {
    for (const path of [...COPIED, program, library]) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      copyFileSync(path, join(root, path));
    }
    if (!existsSync(join(root, 'lib'))) symlinkSync('usr/lib', join(root, 'lib'));
    chownSync(root, 0, 0);
  });

  it('the program starts plainly: all its modules are others', () => {
    const store = join(root, scene.store);
    mkdirSync(dirname(store), { recursive: true });
    cpSync(scene.store, store, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    const done = spawnSync('chroot', [root, scene.launcher('one'), 'say'], {
      encoding: 'utf8',
      env: { ...process.env, OWN: 'x' },
    });
    expect(done).toMatchObject({ status: 5, stderr: 'plain\n' });
    expect(done.stdout).toMatch(/ x 42 3\n$/);
  });
});
