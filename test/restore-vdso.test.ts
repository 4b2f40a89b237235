/** Programs with many pages that point into the vDSO: it is moved, or, where the kernel refuses that, the pages are written. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type BuiltImage,
  both,
  expectSame,
  RestoreScene,
  type Started,
  type StartOptions,
} from './support/restore-scene.ts';

const LIBRARIES = 12;
const scene = new RestoreScene();
const images: Record<'files' | 'joined' | 'fixed', BuiltImage | undefined> = {
  files: undefined,
  joined: undefined,
  fixed: undefined,
};
let refuse = '';

const [major = 0, minor = 0] = release().split('.').map(Number);
const movesAtOnce = major > 6 || (major === 6 && minor >= 17);
const [, vdso = ''] = readFileSync('/proc/self/smaps', 'utf8').split('[vdso]');
const isSealed = /^VmFlags:.* sl\b/.test(/^VmFlags:.*$/m.exec(vdso)?.[0] ?? '');

beforeAll(async () => {
  const libraries = Array.from({ length: LIBRARIES }, (_, number) =>
    scene.compileLibrary(`libclock${number}.so`, 'clock-library.c', `-DNUMBER=${number}`),
  );
  const compile = (name: string, ...flags: readonly string[]): string =>
    scene.compileProgram(name, 'clocks.c', ...flags, ...libraries);
  const program = compile('clocks', '-fPIE', '-pie');
  images.files = await scene.build(program);
  images.joined = await scene.build(program, 'joined');
  images.fixed = await scene.build(compile('fixed-clocks', '-fPIC', '-no-pie'));
  refuse = scene.helper('refuse-call');
});
afterAll(() => scene.remove());

function vdsoOf({ stderr }: Started): number {
  return Number.parseInt(/^vdso ([0-9a-f]+)$/m.exec(stderr)?.[1] ?? '', 16);
}

function started(built: BuiltImage | undefined, options: StartOptions = {}) {
  if (built === undefined) throw new Error('no image');
  const pair = both(built, [], options);
  expectSame(pair);
  expect(pair.plain.stdout).toBe(`vdso 1 elf 1 inside ${LIBRARIES} right ${LIBRARIES} clock 0\n`);
  const { vdsoAt } = built.image;
  return { isLinked: built.isFrom(pair.ours), isMoved: vdsoOf(pair.ours) === vdsoAt };
}

describe.each(['files', 'joined', 'fixed'] as const)('pointers into the vDSO (%s)', (name) => {
  it('stay as they are, and so do the pages that they stand on', () => {
    for (let i = 0; i < 20; i += 1)
      expect(started(images[name])).toEqual({ isLinked: true, isMoved: movesAtOnce && !isSealed });
  });

  it('are written where the kernel does not move mappings at once, as before Linux 6.17', () => {
    // 32 KiB: the vDSO with its data.
    const size =
      (images[name]?.image.machine.vdso?.size ?? 0) + (images[name]?.image.machine.vdso?.lead ?? 0);
    expect(size).toBeGreaterThan(4096);
    const { isLinked, isMoved } = started(images[name], { through: [refuse, `25,${size - 1}`] });
    expect([isLinked, isMoved]).toEqual([true, false]);
  });

  it('leave nothing behind where the start is then refused', () => {
    const { isLinked, isMoved } = started(images[name], { through: [refuse, '334'] });
    expect([isLinked, isMoved]).toEqual([false, false]);
  });

  it('are no hindrance to a debugger', async () => {
    const copy = images[name]?.copy ?? '';
    const child = spawn(copy, ['ready'], { stdio: ['ignore', 'pipe', 'ignore'] });
    await new Promise((resolve) => child.stdout.on('data', resolve));
    const seen = spawnSync('gdb', ['-q', '-nx', '-batch', '-p', String(child.pid), '-ex', 'bt'], {
      encoding: 'utf8',
    });
    child.kill('SIGKILL');
    expect(seen.stdout).toMatch(/main \(argc=2/);
    expect(seen.stdout + seen.stderr).not.toContain('could not read the vDSO');
  });
});
