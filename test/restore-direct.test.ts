/** Joined images whose libraries call each other directly: what was bound at linking is, what is bound lazily is not. */
import { spawn, spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BuiltImage, both, expectSame, RestoreScene } from './support/restore-scene.ts';

const scene = new RestoreScene();
let joined: BuiltImage;
let direct: BuiltImage;

beforeAll(async () => {
  const caller = (name: string, ...flags: readonly string[]): string =>
    scene.compileLibrary(`lib${name}.so`, 'caller-library.c', `-DNAME=${name}`, scene.library, ...flags);
  const libraries = [caller('bound_now', '-Wl,-z,now'), caller('bound_late', '-Wl,-z,lazy')];
  const program = scene.compileProgram('callers', 'callers.c', ...libraries, scene.library);
  joined = await scene.build(program, 'joined');
  direct = await scene.build(program, 'direct');
});
afterAll(() => scene.remove());

/** The instruction at a stub of a library, as gdb sees it in a process. */
async function stubIn(copy: string, library: string): Promise<string> {
  const child = spawn(copy, ['ready'], { stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise((resolve) => child.stdout.on('data', resolve));
  const gdb = (command: string): string =>
    spawnSync('gdb', ['-q', '-nx', '-batch', '-p', String(child.pid), '-ex', command], { encoding: 'utf8' })
      .stdout;
  try {
    const stub = /call +(0x[0-9a-f]+) <library_value@plt>/.exec(gdb(`disassemble ${library}`))?.[1];
    return gdb(`x/i ${stub}`);
  } finally {
    child.kill('SIGKILL');
  }
}

describe('libraries that call each other directly', () => {
  it('do what they do', () => {
    for (const built of [joined, direct]) {
      const pair = both(built, []);
      expectSame(pair);
      expect(pair.plain.status).toBe(7);
      expect(built.isFrom(pair.ours)).toBe(true);
    }
  });

  // library_value is an IFUNC: its resolver chose `fast`.
  it('jump where the table leads, where it was bound when they were linked', async () => {
    expect(await stubIn(joined.copy, 'bound_now')).toMatch(/jmp +\*/);
    expect(await stubIn(direct.copy, 'bound_now')).toMatch(/jmp +0x[0-9a-f]+ <fast>/);
  });

  it('look into the table where it is bound when they call', async () => {
    expect(await stubIn(direct.copy, 'bound_late')).toMatch(/jmp +\*/);
  });
});
