/** The launcher hands the program what a plain exec would, while a prefetch goes on. */
import { type SpawnSyncOptionsWithStringEncoding, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { readElfFile } from '../src/elf/read.ts';
import { evict, isRoot, PLANNED, Scene } from './launch-scene.ts';

const scene = new Scene();
const { program, launch, folder } = scene;
const link = join(folder, 'linked');
symlinkSync(launch, link);
afterAll(() => scene.drop());
// Cold each time: the prefetch is what could be seen.
beforeEach(() => evict(scene.data));

function run(
  file: string,
  args: readonly string[],
  options: Partial<SpawnSyncOptionsWithStringEncoding> = {},
) {
  return spawnSync(file, args, { encoding: 'utf8', ...options });
}

/** What the program reports when it is exec'd from a process with odd signals, limits and descriptors. */
function reportAfterSetUp(path: string, ...argv: readonly string[]): string {
  const { stdout, stderr, status } = run(program, ['set-up', path, ...argv]);
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  expect(stdout).toContain('wait4 -1 ECHILD');
  return stdout;
}

describe('the launcher', () => {
  it('is small, static and has nothing to relocate', () => {
    const elf = readElfFile(launch);
    expect(statSync(launch).size).toBeLessThan(32 * 1024);
    expect(elf.segments.map(({ type }) => type)).not.toContain(2);
    expect(elf.segments.map(({ type }) => type)).not.toContain(3);
  });

  it.each([
    ['by its path', launch],
    ['through a symbolic link', link],
  ])('started %s, hands over what a plain exec does', (_how, path) => {
    const argv = ['any name', 'report', '', 'a b', '\u00e9'];
    expect(reportAfterSetUp(path, ...argv)).toBe(reportAfterSetUp(program, ...argv));
  });

  it('does so too when all is in memory', () => {
    readFileSync(scene.data);
    expect(reportAfterSetUp(launch, 'x', 'report')).toBe(reportAfterSetUp(program, 'x', 'report'));
  });

  it('does so too when it fetches by itself, for a subreaper', async () => {
    const report = (path: string) => run(program, ['reaper', path, 'x', 'report']).stdout;
    const seen = report(launch);
    expect(seen).toBe(report(program));
    expect(seen).toContain('subreaper 1');
    expect(await scene.residentAfter((pages) => pages === PLANNED)).toBe(PLANNED);
  });

  it('keeps an empty argv as the kernel leaves it', () => {
    expect(reportAfterSetUp(launch)).toBe(reportAfterSetUp(program));
  });

  it('keeps environment and folder', () => {
    const env = { A: '1', B: '', ODD: 'x=y', PATH: '/nowhere' };
    const report = (file: string) => run(file, ['report'], { env, cwd: '/usr/lib', argv0: 'p' }).stdout;
    expect(report(launch)).toBe(report(program));
    expect(report(launch)).toContain('cwd /usr/lib');
  });

  it('ends as the program ends', () => {
    expect(run(launch, ['exit', '0']).status).toBe(0);
    expect(run(launch, ['exit', '37']).status).toBe(37);
    expect(run(launch, ['kill', '15']).signal).toBe('SIGTERM');
    expect(run(launch, ['kill', '9']).signal).toBe('SIGKILL');
  });

  it('as `command` starts the recorded arguments, with the caller’s behind them', () => {
    const seen = run(join(scene.image, 'command'), ['more', 'and more']).stdout;
    expect(seen.match(/^argv .*/gm)).toEqual([
      'argv launched',
      'argv report',
      'argv recorded',
      'argv more',
      'argv and more',
    ]);
  });

  it('starts a script by the path that was typed, where it is the same file', () => {
    const script = join(folder, 'script');
    writeFileSync(script, '#!/bin/sh\necho "$0" "$@"\ncat /proc/$$/comm\n', { mode: 0o755 });
    symlinkSync('script', join(folder, 'other-name'));
    scene.build({ name: 'script', program: script, argv: ['./script'] });
    const path = join(scene.imagesDir, 'script', 'launch');
    expect(run(path, ['x'], { cwd: folder, argv0: './script' }).stdout).toBe('./script x\nscript\n');
    expect(run(path, ['x'], { cwd: folder, argv0: './other-name' }).stdout).toBe(
      './other-name x\nother-name\n',
    );
    expect(run(path, ['x'], { cwd: '/', argv0: './script' }).stdout).toBe(`${script} x\nscript\n`);
    expect(run(path, ['x'], { cwd: '/', argv0: 'script' }).stdout).toBe(`${script} x\nscript\n`);
  });

  it.skipIf(!process.env.CI && !isRoot)('is a good process 1 (needs root)', () => {
    const args = ['-pf', '--mount-proc'];
    const report = (path: string) => run('unshare', [...args, path, 'report']).stdout.replace(path, 'argv0');
    const seen = report(launch);
    expect(seen).toContain('wait4 -1 ECHILD');
    expect(seen.replace(/execfn .*/, '')).toBe(report(program).replace(/execfn .*/, ''));
  });

  it.skipIf(!process.env.CI && !isRoot)(
    'leaves nobody to a process 1 that may not reap (needs root)',
    async () => {
      const script = '"$0" exit 0; sleep 0.1; ls -d /proc/[0-9]*; cat /proc/*/comm';
      const seen = run('unshare', ['-pf', '--mount-proc', 'sh', '-c', script, launch]).stdout;
      expect(seen).not.toContain('winnow');
      expect(seen).not.toContain('launch');
      expect(await scene.residentAfter((pages) => pages === PLANNED)).toBe(PLANNED);
    },
  );
});

describe('a program that cannot be started', () => {
  const start = (name: string, path: string) => {
    scene.build({ name, program: path, argv: [name] });
    return join(scene.imagesDir, name, 'launch');
  };
  const failing = (path: string) => {
    const { status, stderr, stdout } = run(path, []);
    return { status, code: /^winnow: (E_\w+): /.exec(stderr)?.[1], stdout, lines: stderr.split('\n').length };
  };

  it('is missing: 127', () => {
    const path = join(folder, 'soon-gone');
    writeFileSync(path, '#!/bin/sh\n', { mode: 0o755 });
    const launcher = start('gone', path);
    rmSync(path);
    expect(failing(launcher)).toEqual({ status: 127, code: 'E_PROGRAM_NOT_FOUND', stdout: '', lines: 4 });
  });

  it('has no interpreter: 126', () => {
    const path = join(folder, 'no-interpreter');
    writeFileSync(path, '#!/nowhere/sh\n', { mode: 0o755 });
    expect(failing(start('no-interpreter', path))).toMatchObject({ status: 126, code: 'E_PROGRAM_FORMAT' });
  });

  it('is plain text: 126', () => {
    const path = join(folder, 'text');
    writeFileSync(path, '#!/bin/sh\n', { mode: 0o755 });
    const launcher = start('text', path);
    writeFileSync(path, 'echo hello\n', { mode: 0o755 });
    expect(failing(launcher)).toMatchObject({ status: 126, code: 'E_PROGRAM_FORMAT' });
  });

  it('may not be executed: 126', () => {
    const path = join(folder, 'not-executable');
    writeFileSync(path, '#!/bin/sh\n', { mode: 0o755 });
    const launcher = start('not-executable', path);
    chmodSync(path, 0o644);
    expect(failing(launcher)).toMatchObject({ status: 126, code: 'E_PROGRAM_NOT_EXECUTABLE' });
  });

  it('is not named by the image any more: 127', () => {
    const copy = join(folder, 'bare');
    mkdirSync(copy);
    writeFileSync(join(copy, 'launch'), readFileSync(launch), { mode: 0o755 });
    expect(failing(join(copy, 'launch'))).toMatchObject({ status: 127, code: 'E_IMAGE_DAMAGED' });
  });

  it('has recorded arguments that others can write, or that are cut off', () => {
    scene.build({ name: 'argv' });
    const argv = join(scene.imagesDir, 'argv', 'argv');
    const path = join(scene.imagesDir, 'argv', 'command');
    chmodSync(argv, 0o666);
    expect(failing(path)).toMatchObject({ status: 126, code: 'E_IMAGE_WRITABLE' });
    chmodSync(argv, 0o600);
    writeFileSync(argv, 'launched\0repo');
    expect(failing(path)).toMatchObject({ status: 127, code: 'E_IMAGE_DAMAGED' });
    renameSync(argv, `${argv}.away`);
    expect(failing(path)).toMatchObject({ status: 127, code: 'E_IMAGE_DAMAGED' });
  });
});
