/** Joined images: what is large stays in the libraries' files, which all images share; and whatever happens to these files, programs behave as ever. */
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '../src/base/brands.ts';
import { MOST_COPIED_PAGES } from '../src/share/place/join.ts';
import { isRoot } from './share-scene.ts';
import { OwnProgramScene } from './support/own-program-scene.ts';
import { WINNOW } from './support/winnow.ts';

const scene = new OwnProgramScene('joined');
afterAll(() => scene.remove());
const { program, other, folder } = scene;
const large = join(scene.libraries, 'liblarge.so');

/** Constants that are in no other file. */
const TABLE = Buffer.from(
  Array.from({ length: 2 * MOST_COPIED_PAGES * PAGE_SIZE }, (_, i) => (i * 2654435761) >>> 11),
);

const LARGE = `__asm__(".section .rodata\\n.balign 4096\\n.globl table\\n.hidden table\\ntable: .incbin \\"table.bin\\"\\n.text");
extern const unsigned char table[${TABLE.length}];
int sum(void) { unsigned all = 0; for (unsigned i = 0; i < sizeof table; i += 64) all = all * 31 + table[i]; return all; }
int (*const relocated)(void) = sum;
`;
const SMALL = 'const char *own(void) { return "of the small library"; }\n';
const MAIN = `#include <stdio.h>
#include <string.h>
extern int (*const relocated)(void);
const char *own(void);
int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "nothing")) return 0;
  if (argc > 1 && !strcmp(argv[1], "wait")) { puts("ready"); fflush(stdout); getchar(); }
  printf("%s %s %d %s\\n", argv[0], NAME, relocated(), own());
  return 5;
}
`;

beforeAll(() => {
  const write = (name: string, bytes: string | Buffer): void => writeFileSync(join(folder, name), bytes);
  write('table.bin', TABLE);
  for (const [name, text] of Object.entries({ large: LARGE, own: SMALL, main: MAIN }))
    write(`${name}.c`, text);
  scene.gcc('-shared', '-fPIC', '-o', large, 'large.c');
  scene.gcc('-shared', '-fPIC', '-o', scene.library, 'own.c');
  for (const [path, name] of [
    [program, 'first'],
    [other, 'second'],
  ] as const) {
    const linking = ['-Llib', '-llarge', '-lown', `-Wl,-rpath,${scene.libraries}`];
    scene.gcc(`-DNAME="${name}"`, '-o', path, 'main.c', ...linking);
    scene.good('record', '-q', '--name', name, '--', path, 'nothing');
    build(name);
  }
});

const build = (name: string, ...words: string[]) =>
  scene.good('build', '--name', name, '--only', 'share', '--variant', 'joined', ...words);
const imageOf = (name: string): string => join(scene.store, 'images', name);
const linkedOf = (name: string): string => {
  const folderOf = realpathSync(imageOf(name));
  const file = readdirSync(folderOf).find((one) => one.endsWith('.linked'));
  if (file === undefined) throw new Error(`${name} has no linked program`);
  return join(folderOf, file);
};

interface Mapping {
  readonly protection: string;
  readonly offset: number;
  readonly inode: number;
  readonly path: string;
}

function mappingsOf(pid: number | undefined): Mapping[] {
  return readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, protection, offset, inode, path] =
        /^\S+ (\S{4}) ([0-9a-f]+) \S+ (\d+) *(.*)$/.exec(line) ?? [];
      if (protection === undefined) return [];
      return [{ protection, offset: Number(`0x${offset}`), inode: Number(inode), path: path ?? '' }];
    });
}

interface Seen {
  readonly mappings: readonly Mapping[];
  readonly isLinked: boolean;
  readonly status: number | null;
  readonly stdout: string;
}

/** While the program waits, its mappings; then its end. */
async function start(file: string, env: NodeJS.ProcessEnv = scene.env): Promise<Seen> {
  const child = spawn(file, ['wait'], { argv0: 'main', stdio: ['pipe', 'pipe', 'ignore'], env });
  let stdout = '';
  const ready = new Promise<void>((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      resolve();
    });
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  await Promise.race([ready, ended]);
  const mappings = stdout === '' ? [] : mappingsOf(child.pid);
  child.stdin.end('\n');
  const status = await ended;
  return { mappings, isLinked: mappings.some(({ path }) => path.endsWith('.linked')), status, stdout };
}

const launch = (name: string): Promise<Seen> => start(join(imageOf(name), 'launch'));
const missesOf = (name: string): unknown => {
  const { programs } = JSON.parse(scene.good('image show', name, '--json').stdout);
  return programs[0].misses.causes;
};

describe('joined images of two programs', () => {
  it('behave as the programs do', async () => {
    for (const [name, path] of [
      ['first', program],
      ['second', other],
    ] as const) {
      const [plain, linked] = [await start(path), await launch(name)];
      expect(plain.isLinked).toBe(false);
      expect(linked.isLinked).toBe(true);
      expect([linked.status, linked.stdout]).toEqual([5, plain.stdout]);
      expect(linked.stdout).toMatch(new RegExp(`main ${name} -?\\d+ of the small library\\n`));
      expect(scene.good('verify', '--name', name, '--', path, 'nothing').stdout).toMatch(/^same: /);
    }
  });

  it('map large libraries from their files, and a small one from the image', async () => {
    const [first, second] = [await launch('first'), await launch('second')];
    const of = ({ mappings }: Seen, file: string) => mappings.filter(({ path }) => path === file);
    const mapped = of(first, large);
    // Its constants are too many to become executable.
    expect(mapped.map(({ protection }) => protection)).toEqual(['r--p', 'r-xp', 'r--p']);
    expect(mapped[0]).toMatchObject({ offset: 0, inode: statSync(large).ino });
    expect(of(second, large)).toEqual(mapped);
    for (const seen of [first, second]) expect(of(seen, scene.library)).toEqual([]);
    const libc = first.mappings.filter(({ path }) => path.endsWith('/libc.so.6'));
    expect(libc).toHaveLength(1);
    expect(libc[0]).toMatchObject({ protection: 'r-xp', offset: 0 });
    expect(second.mappings.filter(({ path }) => path.endsWith('/libc.so.6'))).toEqual(libc);
  });

  it('have no copy of what is large on disk, and one of what is small', () => {
    for (const name of ['first', 'second']) {
      const bytes = readFileSync(linkedOf(name));
      expect(bytes.indexOf(TABLE.subarray(PAGE_SIZE, 2 * PAGE_SIZE))).toBe(-1);
      expect(bytes.indexOf('of the small library')).toBeGreaterThan(0);
      expect(statSync(linkedOf(name)).blocks * 512).toBeLessThan(TABLE.length);
    }
  });

  it('say which bytes are theirs and which are everybody’s', () => {
    const { manifest } = JSON.parse(scene.good('image show', 'first', '--json').stdout);
    const [{ joined, figures }] = manifest.share.programs;
    expect(joined.shared).toBeGreaterThan(TABLE.length);
    expect(joined.copied).toBeLessThan(MOST_COPIED_PAGES * PAGE_SIZE);
    expect(figures.bytes).toBeLessThan(joined.shared);
    expect(scene.good('image show', 'first').stdout).toMatch(
      /^ {2}joined {5}\S+ KiB of code and constants are this image's own; \S+ MiB stay in their libraries, shared .*; \S+ KiB .* executable$/m,
    );
  });

  it('have all of it where libraries call each other directly', async () => {
    scene.good('record', '-q', '--name', 'direct', '--', program, 'nothing');
    scene.good('build', '--name', 'direct', '--only', 'share', '--variant', 'direct');
    const seen = await launch('direct');
    expect([seen.isLinked, seen.status]).toEqual([true, 5]);
    expect(seen.mappings.filter(({ path }) => path.endsWith('.so') || path.endsWith('.so.6'))).toEqual([]);
    expect(statSync(linkedOf('direct')).blocks * 512).toBeGreaterThan(TABLE.length);
    scene.good('image drop', 'direct');
  });

  it('are built at the same time, and each starts', async () => {
    const names = ['first', 'second', 'first', 'second'];
    const builds = names.map((name) => {
      const words = [
        'build',
        '--store',
        scene.store,
        '--name',
        name,
        '--only',
        'share',
        '--variant',
        'joined',
      ];
      const child = spawn(WINNOW, words, { stdio: 'ignore', env: scene.env, cwd: folder });
      return new Promise((resolve) => child.on('close', resolve));
    });
    expect(await Promise.all(builds)).toEqual([0, 0, 0, 0]);
    for (const name of ['first', 'second'])
      expect(await launch(name)).toMatchObject({ isLinked: true, status: 5 });
  });

  it('stay as they were where a build is killed', async () => {
    const before = readlinkSync(imageOf('first'));
    for (const ms of [300, 600]) {
      const words = [
        'build',
        '--store',
        scene.store,
        '--name',
        'first',
        '--only',
        'share',
        '--variant',
        'joined',
      ];
      const child = spawn(WINNOW, words, { stdio: 'ignore', env: scene.env, cwd: folder });
      // Before the sleep: it may have ended by itself by then.
      const closed = new Promise((resolve) => child.on('close', resolve));
      await sleep(ms);
      child.kill('SIGKILL');
      await closed;
      if (readlinkSync(imageOf('first')) === before)
        expect(await launch('first')).toMatchObject({ isLinked: true, status: 5 });
    }
    build('first');
    const left = readdirSync(join(scene.store, 'images')).filter((name) =>
      /\.(?:stage|tmp|link)$/.test(name),
    );
    expect(left).toEqual([]);
    expect(await launch('first')).toMatchObject({ isLinked: true, status: 5 });
  });

  it('stay so when they are refreshed, and start where the other one is dropped', async () => {
    const { manifest: before } = JSON.parse(scene.good('image show', 'first', '--json').stdout);
    scene.good('image refresh', 'first');
    const { manifest: after } = JSON.parse(scene.good('image show', 'first', '--json').stdout);
    expect(after.share.programs[0].joined).toEqual(before.share.programs[0].joined);
    scene.good('image drop', 'second');
    const seen = await launch('first');
    expect(seen).toMatchObject({ isLinked: true, status: 5 });
    expect(seen.mappings.filter(({ path }) => path === large)).toHaveLength(3);
    build('second');
  });
});

describe('a joined image whose large library', () => {
  const aside = `${large}.aside`;
  const times = join(folder, 'times');
  const touch = (from: string, to: string): void => {
    expect(spawnSync('touch', ['-r', from, to]).status).toBe(0);
  };

  beforeAll(() => build('first'));
  afterEach(async () => {
    expect(await launch('first')).toMatchObject({ isLinked: true, status: 5 });
  });

  it('is gone starts its program plainly, and counts it', async () => {
    build('first');
    renameSync(large, aside);
    try {
      expect((await launch('first')).status).toBe(127);
      expect(missesOf('first')).toEqual([{ cause: 'file', path: large, starts: 1 }]);
    } finally {
      renameSync(aside, large);
    }
  });

  it('is another one, of the same size and time, starts its program plainly, and counts it', async () => {
    build('first');
    renameSync(large, aside);
    const bytes = readFileSync(aside);
    bytes.writeUInt8(bytes.readUInt8(bytes.indexOf(TABLE)) ^ 1, bytes.indexOf(TABLE));
    writeFileSync(large, bytes);
    touch(aside, large);
    try {
      expect((await launch('first')).isLinked).toBe(false);
      const plain = spawnSync(program, [], { argv0: 'main', encoding: 'utf8' });
      const ours = spawnSync(join(imageOf('first'), 'launch'), [], { argv0: 'main', encoding: 'utf8' });
      expect([ours.status, ours.stdout]).toEqual([5, plain.stdout]);
      expect(missesOf('first')).toEqual([{ cause: 'file', path: large, starts: 2 }]);
    } finally {
      rmSync(large);
      renameSync(aside, large);
    }
  });

  it('has another content, in place, starts its program plainly', async () => {
    build('first');
    touch(large, times);
    const bytes = readFileSync(large);
    const changed = Buffer.from(bytes);
    const at = bytes.indexOf(TABLE);
    changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    writeFileSync(large, changed);
    try {
      const [plain, ours] = [await start(program), await launch('first')];
      expect(ours).toMatchObject({ isLinked: false, status: 5, stdout: plain.stdout });
    } finally {
      writeFileSync(large, bytes);
      touch(times, large);
    }
  });

  it('is cut off starts its program plainly: the loader complains as ever', () => {
    build('first');
    copyFileSync(large, aside);
    touch(large, aside);
    truncateSync(large, 100);
    try {
      const run = (file: string) => {
        const { status, stdout, stderr } = spawnSync(file, [], { argv0: 'main', encoding: 'utf8' });
        return [status, stdout, stderr];
      };
      const ours = run(join(imageOf('first'), 'launch'));
      expect(ours).toEqual(run(program));
      expect(ours).toEqual([127, '', expect.stringContaining('cannot read file data')]);
      expect(missesOf('first')).toEqual([{ cause: 'file', path: large, starts: 1 }]);
    } finally {
      writeFileSync(large, readFileSync(aside));
      touch(aside, large);
      rmSync(aside);
    }
  });

  it.runIf(isRoot)('may not be read starts its program plainly: the loader complains as ever', () => {
    const run = (file: string) => {
      const words = ['--reuid=65534', '--regid=65534', '--clear-groups', file];
      const { status, stdout, stderr } = spawnSync('setpriv', words, { encoding: 'utf8' });
      return [status, stdout, stderr.replace(/^[^:]*: /, '')];
    };
    const launcher = join(imageOf('first'), 'launch');
    expect(run(launcher)[0]).toBe(5);
    chmodSync(large, 0o600);
    try {
      const ours = run(launcher);
      expect(ours).toEqual(run(program));
      expect(ours).toEqual([127, '', expect.stringContaining('liblarge.so: cannot open')]);
    } finally {
      chmodSync(large, 0o755);
    }
  });
});
