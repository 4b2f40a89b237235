/**
 * Whatever differs from when libraries were prelinked: the program starts with its originals, and does the same.
 *
 * Over 300 lines: one image, which takes seconds to record and build, serves all faults.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PrelinkedProgram } from '../src/share/prelinked/model.ts';
import { decodePrelinked } from '../src/share/prelinked/prelinked-decode.ts';
import { encodePrelinked } from '../src/share/prelinked/prelinked-encode.ts';
import { asRoot } from './modules-scene.ts';
import { PrelinkedScene, type Started } from './prelinked-scene.ts';

const scene = new PrelinkedScene();
afterAll(() => scene.remove());
const { program } = scene;

const WORDS = ['say', 'x'];
let plain: Started;
let table: PrelinkedProgram[];
let tablePath: string;

beforeAll(() => {
  scene.record(program, 'child', scene.fixed, 'nothing');
  scene.build();
  plain = scene.start(WORDS, { env: { WINNOW_SHOW: 'plain' } });
  expect(plain).toMatchObject({ status: 5, stderr: 'plain\n' });
  tablePath = join(scene.files, 'prelink.bin');
  table = decodePrelinked(readFileSync(tablePath), tablePath);
});

const expectPlain = (): void => expect(scene.start(WORDS)).toEqual(plain);
const expectPrelinked = (): void => expect(scene.start(WORDS)).toEqual({ ...plain, stderr: 'prelinked\n' });
const shown = (): string => scene.good('image show', 'one').stdout;

/** Runs `work` with another table in the image. */
function withTable(bytes: Uint8Array, work: () => void): void {
  const before = readFileSync(tablePath);
  writeFileSync(tablePath, bytes);
  try {
    work();
  } finally {
    writeFileSync(tablePath, before);
  }
}

const programAt = (path: string): PrelinkedProgram => {
  const { ino } = statSync(path, { bigint: true });
  const found = table.find(({ inode }) => inode === ino);
  if (found === undefined) throw new Error('not in the table');
  return found;
};

function withProgram(
  path: string,
  change: (one: PrelinkedProgram) => PrelinkedProgram,
  work: () => void,
): void {
  const one = programAt(path);
  withTable(encodePrelinked(table.map((other) => (other === one ? change(one) : other))), work);
}

/** How often the program is executed until it is itself: the launcher, the program, and once more where it gave up. */
function executions(words: readonly string[]): number {
  const launch = join(scene.image, 'launch');
  const log = join(scene.folder, 'strace.log');
  const done = spawnSync('strace', ['-f', '-e', 'trace=execve', '-o', log, launch, ...words], {
    encoding: 'utf8',
    env: scene.env,
  });
  expect(done.status).toBe(5);
  return readFileSync(log, 'utf8').match(/execve\(.* = 0$/gm)?.length ?? 0;
}

describe('a program that speaks to its loader', () => {
  it.each([
    ['LD_LIBRARY_PATH', '/nowhere'],
    ['LD_PRELOAD', ''],
    ['LD_BIND_NOW', '1'],
    ['LD_BIND_NOT', '1'],
    ['LD_DEBUG', ''],
    ['LD_AUDIT', ''],
    ['LD_HWCAP_MASK', '0'],
    ['GLIBC_TUNABLES', 'glibc.rtld.optional_static_tls=1000'],
  ])('starts plainly: %s', (name, value) => {
    const env = { [name]: value };
    const without = scene.start(WORDS, { env: { ...env, WINNOW_SHOW: 'plain' } });
    expect(scene.start(WORDS, { env })).toEqual(without);
    expect(without.stderr).toBe('plain\n');
    // A child, too.
    const words = ['with', `${name}=${value}`, scene.fixed, ...WORDS];
    const child = scene.start(words, { env: { WINNOW_SHOW: 'plain' } });
    expect(scene.start(words)).toEqual(child);
    expect(child).toMatchObject({ status: 5, stderr: 'plain\n' });
    expectPrelinked();
  });
});

describe('files that are not as they were', () => {
  it('a library has another time', () => {
    const reference = join(scene.folder, 'reference');
    spawnSync('cp', ['-p', scene.library, reference]);
    spawnSync('touch', ['-d', '2001-02-03', scene.library]);
    try {
      expectPlain();
      expect(shown()).toContain(`would start plainly now: a module has changed: ${scene.library}`);
    } finally {
      // With its nanoseconds.
      spawnSync('touch', ['-r', reference, scene.library]);
    }
    expectPrelinked();
  });

  it('a library is another one', () => {
    const saved = join(scene.folder, 'saved.so');
    renameSync(scene.library, saved);
    scene.compileLibrary('-DANOTHER', '-g');
    try {
      expectPlain();
    } finally {
      renameSync(saved, scene.library);
    }
    expectPrelinked();
  });

  it('a library stands in front of the one that was found', () => {
    const front = join(scene.first, 'libown.so');
    copyFileSync(scene.library, front);
    try {
      expectPlain();
    } finally {
      rmSync(front);
    }
    expectPrelinked();
  });

  it('a library stands in front of one, when others are mapped already', () => {
    const front = join(scene.first, 'libm.so.6');
    expect(executions(WORDS)).toBe(2);
    copyFileSync('/lib/x86_64-linux-gnu/libm.so.6', front);
    try {
      expectPlain();
      // The first copy was there: all is thrown away.
      expect(executions(WORDS)).toBe(3);
    } finally {
      rmSync(front);
    }
    expectPrelinked();
  });

  it('a copy is cut off, gone, unreadable or in the hands of others', () => {
    const name = programAt(program).modules[0]?.copy?.file ?? '';
    const copy = join(scene.files, name);
    const saved = join(scene.folder, 'saved-copy');
    copyFileSync(copy, saved);
    const { mode } = statSync(copy);
    const restore = (): void => {
      rmSync(copy, { force: true });
      copyFileSync(saved, copy);
      chmodSync(copy, mode);
    };
    for (const damage of [
      () => truncateSync(copy, 4096),
      () => rmSync(copy),
      () => chmodSync(copy, 0o666),
      ...(process.geteuid?.() === 0 ? [() => chownSync(copy, 65_534, 65_534)] : []),
    ]) {
      damage();
      try {
        expectPlain();
        expect(shown()).toContain(`would start plainly now: its copy is damaged`);
      } finally {
        restore();
      }
      expectPrelinked();
    }
  });

  it('children get their copies from a program that did without its own', () => {
    const copy = join(scene.files, programAt(program).modules[0]?.copy?.file ?? '');
    renameSync(copy, `${copy}.away`);
    try {
      // Its C library is the original, far from the audit object.
      expectPlain();
      expect(scene.start(['child', scene.fixed, ...WORDS])).toMatchObject({
        status: 5,
        stderr: 'prelinked\n',
      });
    } finally {
      renameSync(`${copy}.away`, copy);
    }
    expectPrelinked();
  });

  it('the audit object is gone', () => {
    const object = join(scene.files, 'audit.so');
    renameSync(object, `${object}.away`);
    try {
      expectPlain();
    } finally {
      renameSync(`${object}.away`, object);
    }
  });

  it('the table is damaged, in any of its bytes, newer, or in the hands of others', () => {
    const bytes = readFileSync(tablePath);
    for (let at = 0; at < bytes.length; at += 1 + Math.floor(bytes.length / 60)) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x10, at);
      withTable(damaged, expectPlain);
    }
    for (const size of [0, 8, 47, 48, bytes.length - 8]) withTable(bytes.subarray(0, size), expectPlain);
    chmodSync(tablePath, 0o666);
    try {
      expectPlain();
    } finally {
      chmodSync(tablePath, 0o644);
    }
    expectPrelinked();
  });
});

describe('addresses', () => {
  it('are taken: nothing is shown', () => {
    // The program itself lies there.
    const area = { start: 0x40_0000, size: 0x1000 };
    withProgram(
      scene.fixed,
      (one) => ({ ...one, area }),
      () => {
        const words = ['child', scene.fixed, ...WORDS];
        expect(scene.start(words)).toEqual(scene.start(words, { env: { WINNOW_SHOW: 'plain' } }));
      },
    );
    const words = ['child', scene.fixed, ...WORDS];
    expect(scene.start(words)).toMatchObject({ stderr: 'prelinked\n' });
  });

  const moved = (one: PrelinkedProgram): PrelinkedProgram => ({
    ...one,
    modules: one.modules.map((module, index) =>
      index === one.modules.length - 1 && module.copy !== undefined
        ? { ...module, copy: { ...module.copy, dynamic: module.copy.dynamic + 4096 } }
        : module,
    ),
  });

  it('are not those that the loader tells: the program is executed anew', () => {
    withProgram(program, moved, () => {
      expectPlain();
      expect(executions(WORDS)).toBe(3);
    });
    expectPrelinked();
  });

  it('are not, in the interpreter of a script', () => {
    const words = ['child', scene.script, 'more', ''];
    const before = scene.start(words, { env: { WINNOW_SHOW: 'plain' } });
    expect(before.stdout).toContain(`say|${scene.script}|more||script `);
    withProgram(program, moved, () => expect(scene.start(words)).toEqual(before));
  });
});

describe('other modules than planned', () => {
  it('are not mistaken for the planned ones', () => {
    const reversed = (one: PrelinkedProgram): PrelinkedProgram => ({
      ...one,
      modules: [...one.modules].reverse(),
    });
    withProgram(program, reversed, expectPlain);
    const fewer = (one: PrelinkedProgram): PrelinkedProgram => ({ ...one, modules: one.modules.slice(1) });
    withProgram(program, fewer, expectPlain);
    const [first] = programAt(program).modules;
    if (first === undefined) throw new Error('no modules');
    const more = (one: PrelinkedProgram): PrelinkedProgram => ({ ...one, modules: [...one.modules, first] });
    // The last one never comes: that is seen when all are there, before any of their code has run.
    withProgram(program, more, () => {
      expectPlain();
      expect(executions(WORDS)).toBe(3);
    });
  });
});

describe('who may not read the image', () => {
  it.runIf(asRoot)('starts plainly', () => {
    const words = ['become', scene.fixed, ...WORDS];
    const before = scene.start(words, { env: { WINNOW_SHOW: 'plain' } });
    expect(before).toMatchObject({ status: 5, stderr: 'plain\n' });
    expect(scene.start(words)).toEqual({ ...before, stderr: 'prelinked\n' });
    for (const [path, mode] of [
      [join(scene.store, 'images'), 0o700],
      [join(scene.files, programAt(scene.fixed).modules[0]?.copy?.file ?? ''), 0o600],
      [tablePath, 0o600],
    ] as const) {
      const { mode: was } = statSync(path);
      chmodSync(path, mode);
      try {
        expect(scene.start(words)).toEqual(before);
      } finally {
        chmodSync(path, was);
      }
    }
  });
});

describe('programs that are not prelinked', () => {
  it('are named with their reason', () => {
    const refused = (path: string): unknown => {
      const name = basename(path);
      scene.good('record', '-q', '--name', name, '--', path, 'nothing');
      const words = ['--name', name, '--only', 'share', '--share', 'prelink', '--json'];
      const { prelink } = JSON.parse(scene.good('build', ...words).stdout);
      return prelink.kept;
    };
    const setUid = join(scene.folder, 'bin', 'set-uid');
    copyFileSync(program, setUid);
    chmodSync(setUid, 0o4755);
    expect(refused(setUid)).toEqual([{ path: setUid, reason: 'gives its rights to who runs it' }]);

    const byPath = join(scene.folder, 'bin', 'by-path');
    const source = join(import.meta.dirname, 'fixtures', 'share', 'prelinked.c');
    const bare = join(scene.folder, 'bare.so');
    scene.gcc(
      '-shared',
      '-fPIC',
      '-o',
      bare,
      join(import.meta.dirname, 'fixtures', 'share', 'prelinked-library.c'),
    );
    scene.gcc('-o', byPath, source, bare, '-lm', '-pthread');
    expect(refused(byPath)).toEqual([
      { path: byPath, reason: 'a library is asked for by a path', detail: bare },
    ]);

    const lone = join(scene.folder, 'bin', 'static');
    writeFileSync(join(scene.folder, 'static.c'), 'int main(void) { return 0; }\n');
    scene.gcc('-static', '-o', lone, join(scene.folder, 'static.c'));
    expect(refused(lone)).toEqual([{ path: lone, reason: 'not dynamically linked' }]);
    expect(existsSync(join(scene.store, 'images', 'static', 'prelink.bin'))).toBe(true);
  });
});

// Builds the image anew, so it comes last.
describe('starts without the copies', () => {
  it('are counted by cause, where the image is the user’s own', () => {
    scene.build();
    const misses = () => {
      const { prelinked } = JSON.parse(scene.good('image show', 'one', '--json').stdout);
      return prelinked.misses;
    };
    expect(misses()).toEqual({ starts: 0, isFull: false, causes: [] });
    expect(shown()).toContain('misses     none noted');
    scene.start(WORDS);
    expect(misses().starts).toBe(0);
    scene.start(WORDS, { env: { LD_BIND_NOW: '1' } });
    scene.start(['with', 'LD_BIND_NOW=1', scene.fixed, ...WORDS]);
    const front = join(scene.first, 'libm.so.6');
    copyFileSync('/lib/x86_64-linux-gnu/libm.so.6', front);
    scene.start(WORDS);
    scene.start(WORDS);
    rmSync(front);
    const mode = statSync(scene.library).mode;
    const saved = join(scene.folder, 'saved-library');
    renameSync(scene.library, saved);
    copyFileSync(saved, scene.library);
    chmodSync(scene.library, mode);
    scene.start(WORDS);
    renameSync(saved, scene.library);
    const { starts, causes } = misses();
    expect(starts).toBe(4);
    expect(causes).toHaveLength(3);
    expect(causes[0]).toEqual({ cause: 'module', path: '/lib/x86_64-linux-gnu/libm.so.6', starts: 2 });
    expect(causes).toContainEqual({ cause: 'environment', path: program, starts: 1 });
    expect(causes).toContainEqual({ cause: 'file', path: scene.library, starts: 1 });
    expect(shown()).toMatch(/misses +4 starts without the copies/);
  });
});

describe('a program with much thread-local storage', () => {
  it('does not start under an auditor, and is not given one', () => {
    const source = join(scene.folder, 'storage.c');
    writeFileSync(source, '__thread char block[65536];\nchar *at(void) { block[9] = 7; return block; }\n');
    const library = join(scene.libraries, 'libstorage.so');
    const ending = ['-Llib', '-lstorage', `-Wl,-rpath,${scene.libraries}`];
    scene.gcc('-shared', '-fPIC', '-ftls-model=initial-exec', '-o', library, source);
    const large = join(scene.folder, 'bin', 'large');
    writeFileSync(
      join(scene.folder, 'large.c'),
      'char *at(void); int main(int n, char **words) { return words[n] == 0 && n > 1 ? at()[9] : 0; }\n',
    );
    scene.gcc('-o', large, join(scene.folder, 'large.c'), ...ending);
    const audited = { ...scene.env, LD_AUDIT: join(scene.image, 'audit.so') };
    expect(spawnSync(large, { env: audited, encoding: 'utf8' }).stderr).toContain('static TLS');

    scene.good('record', '-q', '--name', 'large', '--', large);
    const words = ['--name', 'large', '--only', 'share', '--share', 'prelink', '--json'];
    const { prelink } = JSON.parse(scene.good('build', ...words).stdout);
    expect(prelink).toMatchObject({
      programs: [],
      kept: [{ path: large, reason: 'its libraries need much static thread-local storage' }],
    });
    expect(scene.winnow('run', '--name', 'large', '--', large, 'x').status).toBe(7);
    expect(scene.start(['child', large, 'x'])).toMatchObject({ status: 7, stderr: '' });
  });
});
