/** The store among several writers, killed writers and full disks: real processes, real signals. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gitRun } from '../../test/profile-samples.ts';
import { openStore } from './store.ts';
import { storeFailure } from './store-errors.ts';
import { removeLeftovers, replaceFile, withLock, writeAll } from './store-files.ts';

const root = join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'winnow-safety-'));
const writer = join(folder, 'js', 'test', 'store-writer.js');

beforeAll(() => {
  mkdirSync(join(folder, 'js'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  const options =
    '--ignoreConfig --noCheck --module nodenext --target es2023 --rewriteRelativeImportExtensions';
  const tsc = [join(root, 'node_modules/typescript/bin/tsc'), ...options.split(' ')];
  const out = ['--rootDir', root, '--outDir', join(folder, 'js'), join(root, 'test/store-writer.ts')];
  execFileSync(process.execPath, [...tsc, ...out], { cwd: root, encoding: 'utf8' });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A writer that has said it is ready and waits for `go`. */
async function startWriter(dir: string, first: number, count: number): Promise<ChildProcess> {
  const child = spawn(process.execPath, [writer, dir, 'many', String(first), String(count)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  if (child.stdout !== null) await once(child.stdout, 'data');
  return child;
}

const profiles = (dir: string): string[] => readdirSync(join(dir, 'profiles')).sort();

describe('the store', () => {
  it('keeps every run of eight processes that finish at once', async () => {
    const dir = join(folder, 'eight');
    const children = await Promise.all(Array.from({ length: 8 }, (_, n) => startWriter(dir, n * 2, 2)));
    const ends = children.map((child) => once(child, 'exit'));
    for (const child of children) child.stdin?.end('go');
    expect(await Promise.all(ends)).toEqual(children.map(() => [0, null]));
    const ids = openStore({ store: dir })
      .read('many')
      .runs.map((run) => Number.parseInt(run.id, 16));
    expect(ids).toEqual(Array.from({ length: 16 }, (_, n) => 15 - n));
    expect(profiles(dir)).toEqual(['.lock', 'many.wnp']);
  });

  it('stays readable when writers are killed at any moment', async () => {
    const dir = join(folder, 'killed');
    openStore({ store: dir }).addRun('many', gitRun(0));
    for (let round = 0; round < 12; round += 1) {
      const child = await startWriter(dir, round * 1000, 1000);
      const end = once(child, 'exit');
      child.stdin?.end('go');
      await delay(3 + ((round * 37) % 60));
      child.kill('SIGKILL');
      expect(await end).toEqual([null, 'SIGKILL']);
      expect(openStore({ store: dir }).read('many').runs.length).toBeGreaterThan(0);
    }
    openStore({ store: dir }).addRun('many', gitRun(1));
    expect(profiles(dir)).toEqual(['.lock', 'many.wnp']);
  });

  it('clears away what killed writers left, at the next write', () => {
    const dir = join(folder, 'leftovers');
    openStore({ store: dir }).addRun('x', gitRun(0));
    writeFileSync(join(dir, 'profiles', '.x.wnp.0123456789ab.tmp'), 'half');
    expect(
      openStore({ store: dir })
        .list()
        .map(({ name }) => name),
    ).toEqual(['x']);
    openStore({ store: dir }).addRun('y', gitRun(0));
    expect(profiles(dir)).toEqual(['.lock', 'x.wnp', 'y.wnp']);
  });

  it('says so when another process does not give the lock back', () => {
    const path = join(folder, 'busy.lock');
    const held = withLock(path, () => {
      expect(() => withLock(path, () => 'never', 20)).toThrow(
        expect.objectContaining({ code: 'E_STORE_BUSY' }),
      );
      return 'held';
    });
    expect([held, withLock(path, () => 'free again', 0)]).toEqual(['held', 'free again']);
  });
});

describe('a full disk', () => {
  it('is E_STORE_FULL', () => {
    const fd = openSync('/dev/full', 'w');
    try {
      writeAll(fd, Buffer.alloc(10));
      expect.unreachable('/dev/full took bytes');
    } catch (error) {
      expect(storeFailure(error, '/s')).toMatchObject({ code: 'E_STORE_FULL', where: '/s', exitCode: 3 });
    } finally {
      closeSync(fd);
    }
  });

  const disk = join(folder, 'disk');
  mkdirSync(disk);
  const mayMount =
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=700', 'winnow', disk]).status === 0;
  afterAll(() => void (mayMount && spawnSync('umount', ['-l', disk])));

  it.skipIf(!process.env.CI && !mayMount)(
    'leaves the profile as it was, and no half file (needs the right to mount)',
    () => {
      expect(mayMount).toBe(true);
      const store = openStore({ store: join(disk, 'store') });
      const before = store.addRun('x', gitRun(0));
      const digest = (n: number) => createHash('sha256').update(String(n)).digest('hex');
      const noise = Array.from({ length: 6000 }, (_, n) => ({ path: `/${digest(n)}`, found: false }));
      expect(() => store.addRun('x', gitRun(1, { lookups: noise }))).toThrow(
        expect.objectContaining({ code: 'E_STORE_FULL' }),
      );
      expect(store.read('x')).toEqual(before);
      expect(profiles(join(disk, 'store'))).toEqual(['.lock', 'x.wnp']);
    },
  );
});

describe('replaceFile', () => {
  it('leaves nothing behind when the rename fails', () => {
    const where = join(folder, 'replace');
    mkdirSync(join(where, 'taken'), { recursive: true });
    expect(() => replaceFile(join(where, 'taken'), Buffer.from('x'), 0o600)).toThrow(
      expect.objectContaining({ code: 'E_STORE_NOT_A_FOLDER' }),
    );
    expect(readdirSync(where)).toEqual(['taken']);
    removeLeftovers(where);
    expect(readdirSync(where)).toEqual(['taken']);
  });
});
