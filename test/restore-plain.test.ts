/**
 * Programs in front of which restore stands, plainly and from an image, as others see them: /proc, gdb, a core file.
 * The plain ones have no image at all.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RestoreScene, start } from './support/restore-scene.ts';

const PYTHON = '/usr/bin/python3';
const scene = new RestoreScene();
const programs = { plain: '', image: '', fixed: '', joined: '', slid: '' };
const ways = ['plain', 'image', 'fixed', 'joined', 'slid'] as const;

beforeAll(async () => {
  const program = scene.compile('linked');
  programs.plain = scene.plainCopy(program, 'plain-copy');
  programs.image = (await scene.build(program)).copy;
  programs.joined = (await scene.build(program, 'joined')).copy;
  programs.slid = (await scene.build(program, 'files', { slides: true })).copy;
  programs.fixed = (await scene.build(scene.compile('fixed', '-no-pie'))).copy;
});
afterAll(() => scene.remove());

const gdb = (...words: readonly string[]): string => {
  const { stdout, stderr } = spawnSync('gdb', ['-q', '-nx', '-batch', ...words], { encoding: 'utf8' });
  return stdout + stderr;
};
const LOOK = ['-ex', 'bt', '-ex', 'info sharedlibrary', '-ex', 'info auxv'] as const;

function expectWhole(seen: string): void {
  expect(seen).toMatch(/deepest \(how=.*\n.*deeper \(how=.*\n.*main \(argc=2/);
  expect(seen).toMatch(/Yes .*\/liblinked\.so/);
  expect(seen).toMatch(/Yes .*\/ld-linux-x86-64\.so\.2/);
}

/** The program once it has said that it waits. */
function waiting(program: string): Promise<ChildProcess> {
  const child = spawn(program, ['pause'], { stdio: ['ignore', 'pipe', 'ignore'] });
  return new Promise((resolve, reject) => {
    let text = '';
    child.on('exit', (code) => reject(new Error(`it ended with ${code}: ${text}`)));
    child.stdout.on('data', (data: Buffer) => {
      text += String(data);
      if (text.includes('ready')) resolve(child);
    });
  });
}

describe.each(ways)('a program that starts in the way "%s"', (way) => {
  it('is itself in /proc', async () => {
    const child = await waiting(programs[way]);
    const proc = `/proc/${child.pid}`;
    expect(readlinkSync(`${proc}/exe`)).toBe(programs[way]);
    expect(readFileSync(`${proc}/cmdline`, 'utf8')).toBe(`${programs[way]}\0pause\0`);
    const maps = readFileSync(`${proc}/maps`, 'utf8');
    for (const name of ['[heap]', '[stack]', '[vvar', '[vdso]']) expect(maps).toContain(name);
    expect(maps).not.toContain('wx');
    child.kill('SIGKILL');
  });

  it('can be attached to', async () => {
    const child = await waiting(programs[way]);
    expectWhole(gdb('-p', String(child.pid), ...LOOK));
    child.kill('SIGKILL');
  });

  it('can be started by a debugger, with breakpoints', () => {
    // It does not hear of libraries: they are read when it is told to.
    const seen = gdb(
      '-ex',
      'break deepest',
      '-ex',
      'run',
      '-ex',
      'sharedlibrary',
      ...LOOK,
      '-ex',
      'continue',
      '--args',
      programs[way],
      'x',
    );
    expect(seen).toMatch(/Breakpoint 1, deepest \(how=/);
    expectWhole(seen);
    expect(seen).toContain('exited with code 07');
  });

  it.runIf(readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim() === 'core')('leaves a core', () => {
    const folder = mkdtempSync(join(scene.folder, 'core-'));
    const words = ['--core=unlimited', programs[way], 'abort'];
    const { signal } = spawnSync('prlimit', words, { cwd: folder, stdio: 'ignore' });
    expect(signal).toBe('SIGABRT');
    const uses = readFileSync('/proc/sys/kernel/core_uses_pid', 'utf8').trim() !== '0';
    expect(uses || existsSync(join(folder, 'core'))).toBe(true);
    if (!uses) expectWhole(gdb(programs[way], join(folder, 'core'), ...LOOK));
  });
});

describe('restore without an image', () => {
  it('starts what the program is', () => {
    const copy = scene.plainCopy(PYTHON, 'python-copy');
    const script =
      'import os, sys; print(sys.argv, os.environ["SAMPLE"], os.readlink("/proc/self/exe")); sys.exit(5)';
    const started = start(copy, ['-c', script, 'a', '']);
    expect(started.stderr).toBe('');
    expect(started.stdout).toBe(`['-c', 'a', ''] a value ${copy}\n`);
    expect(started.status).toBe(5);
  });

  it('lets the loader have its variables', () => {
    const { stdout } = start(programs.plain, [], { env: { LD_TRACE_LOADED_OBJECTS: '1' } });
    expect(stdout).toContain('liblinked.so => ');
    const traced = start(programs.image, [], { env: { LD_TRACE_LOADED_OBJECTS: '1' } });
    expect(traced.stdout).toContain('liblinked.so => ');
  });

  it('says what is wrong where there is no loader', () => {
    const program = scene.compile('other', '-Wl,--dynamic-linker=/nowhere/ld.so');
    const started = start(scene.plainCopy(program, 'no-loader'), []);
    expect(started.status).toBe(127);
    expect(started.stderr).toContain('E_NO_LOADER');
    expect(started.stderr).toContain('/nowhere/ld.so');
  });

  it('runs in front of musl’s loader, too', () => {
    const program = join(scene.folder, 'musl');
    const source = 'int puts(const char *);int main(int c,char**v){puts(v[c-1]);return c;}';
    const built = spawnSync('musl-gcc', ['-x', 'c', '-o', program, '-'], { input: source, encoding: 'utf8' });
    expect(built.stderr).toBe('');
    const plain = start(program, ['x', 'y']);
    const ours = start(scene.plainCopy(program, 'musl-copy'), ['x', 'y']);
    expect(ours).toEqual(plain);
    expect(ours.stdout).toBe('y\n');
  });
});
