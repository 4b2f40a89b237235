/** Programs that cannot be shown modules by the audit object run with the originals. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { writeModulesTable } from '../src/image/modules-encode.ts';
import { AS_NOBODY, compile, ModulesScene, type StartOptions } from './modules-scene.ts';

const scene = new ModulesScene();
const { program } = scene;
afterAll(() => scene.drop());

describe('programs that take no audit object', () => {
  const image = join(scene.folder, 'images', '.other@0123456789ab');
  const launch = join(image, 'launch');
  const start = (path: string, words: readonly string[], options: StartOptions = {}) => {
    rmSync(image, { recursive: true, force: true });
    scene.fill(image, undefined, path);
    return scene.start(words, { show: 'audit', launch, ...options });
  };

  it('are static ones, also as children', () => {
    const path = compile(
      join(scene.folder, 'static'),
      'shown.c',
      '-static',
      '-DSTATIC',
      '-DROLE="static"',
      '-w',
    );
    expect(start(path, ['env'])).toMatchObject({ stdout: '', stderr: '', status: 0 });
    expect(scene.start(['exec', 'execv', path, 'env'], { show: 'audit' }).stdout).toBe('');
    // A static program makes the call itself, so its children have the originals.
    expect(start(path, ['exec', 'execv', program]).stdout).toContain('library first');
  });

  it('are set-uid ones', () => {
    const path = join(scene.folder, 'set-uid');
    copyFileSync(program, path);
    spawnSync('chmod', ['4755', path]);
    expect(start(path, [], { as: AS_NOBODY }).stdout).toContain('library first');
    expect(start(path, ['env'], { as: AS_NOBODY }).stdout).toBe('');
    expect(scene.start(['exec', 'execv', path], { show: 'audit', as: AS_NOBODY }).stdout).toContain(
      'library first',
    );
  });

  it('are children with an audit object of their own, or that cannot find ours', () => {
    const own = { LD_AUDIT: '/nowhere/audit.so' };
    const child = scene.start(['exec', 'execv', '/usr/bin/env', `LD_AUDIT=${own.LD_AUDIT}`, program], {
      show: 'audit',
    });
    expect(child.stdout).toContain('library first');
    const script = `rm '${join(image, 'audit.so')}'; '${program}'`;
    const gone = start('/bin/sh', ['-c', script]);
    expect([gone.stdout, gone.stderr]).toEqual([expect.stringContaining('library first'), '']);
  });

  it('are those of a loader before glibc 2.35, from which the object withdraws', () => {
    const object = join(scene.image, 'audit.so');
    const env = { A: '1', LD_AUDIX: object, B: '2' };
    const seen = spawnSync(program, ['old-loader', object], { encoding: 'utf8', env });
    expect(seen.stdout).toBe(`${object} 0 gone\n`);
  });

  it('are those whose libraries need more static thread-local storage than there is beside an auditor', () => {
    const withStorage = (size: number) => {
      const library = join(scene.lib, `libstorage-${size}.so`);
      compile(library, 'storage-library.c', '-shared', '-fPIC', `-DSIZE=${size}`);
      const path = join(scene.folder, `storage-${size}`);
      const libraries = [scene.library, '-Wl,--no-as-needed', library, `-Wl,-rpath,${scene.lib}`];
      return compile(path, 'shown.c', '-DROLE="stored"', ...libraries);
    };
    const [little, much] = [withStorage(100), withStorage(3000)];
    expect(start(little, []).stdout).toContain('library second');
    // The loader alone would end it: cannot allocate memory in static TLS block.
    const seen = start(much, []);
    expect([seen.stdout, seen.stderr, seen.status]).toEqual([
      expect.stringContaining('library first'),
      '',
      0,
    ]);
    expect(start(much, ['env']).stdout).toBe('');
    expect(scene.start(['exec', 'execv', much], { show: 'audit' }).stdout).toContain('library first');
  });

  it('end by the loader where their unused code is denied, rather than start with all of it', () => {
    start(join(scene.folder, 'storage-3000'), []);
    writeFileSync(join(image, 'modules.bin'), writeModulesTable(scene.modules(), 'audit', 'deny'));
    const seen = scene.start([], { show: 'audit', launch });
    expect([seen.stdout, seen.stderr, seen.status]).toEqual([
      '',
      expect.stringContaining('static TLS block'),
      127,
    ]);
  });

  it('are those whose caller has an audit object already', () => {
    const object = compile(
      join(scene.folder, 'callers.so'),
      'shown-library.c',
      ...['-shared', '-fPIC', '-DROLE=""', '-Dshown_library=la_unused', '-include', 'link.h'],
      ...['-Wl,--defsym=la_version=la_unused'],
    );
    const env = { LD_AUDIT: object };
    const seen = scene.start(['env'], { show: 'audit', env });
    expect(seen.stdout).toBe(`LD_AUDIT=${object}\n`);
    expect(scene.start([], { show: 'audit', env }).stdout).toContain('library first');
  });

  it('are those that would have too long an environment with it', () => {
    const env = (size: number) => {
      const rest = size % 100_000;
      const words = Array.from({ length: Math.floor(size / 100_000) }, (_, index) => [
        `A${index}`,
        'x'.repeat(100_000),
      ]);
      return Object.fromEntries([...words, ['B', 'x'.repeat(rest)]]);
    };
    const runs = (file: string, size: number) =>
      spawnSync(file, ['exit', '23'], { env: env(size), argv0: 'x' }).status === 23;
    // Not with WINNOW_SHOW: taken out it would leave room.
    scene.writeTable(scene.modules(), 'audit');
    let [good, bad] = [0, 8_000_000];
    while (bad - good > 1) {
      const middle = (good + bad) >> 1;
      if (runs(scene.launch, middle)) good = middle;
      else bad = middle;
    }
    // The launcher's own path is longer than the program's: it is the one that has no room.
    expect(runs(program, good)).toBe(true);
    expect(good).toBeGreaterThan(100_000);
    scene.reset();
  });
});
