import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { resolveCommand } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-command-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
for (const [path, mode] of [
  ['a/tool', 0o644],
  ['b/tool', 0o755],
  ['a/only-data', 0o644],
  ['tool', 0o755],
] as const) {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), '');
  chmodSync(join(folder, path), mode);
}
mkdirSync(join(folder, 'c', 'tool'), { recursive: true });

const program = (name: string, path: string) => resolveCommand([name, 'x'], folder, path).program;

describe('resolveCommand', () => {
  it('takes the first file of PATH that can be executed, folders aside', () => {
    const path = ['a', 'c', 'b'].map((name) => join(folder, name)).join(':');
    expect(program('tool', path)).toBe(join(folder, 'b/tool'));
    expect(program('only-data', path)).toBe(join(folder, 'a/only-data'));
    expect(program('tool', ':/bin')).toBe(join(folder, 'tool'));
    expect(program('tool', 'b')).toBe(join(folder, 'b/tool'));
  });

  it('takes names with a slash as they are, from the current folder', () => {
    expect(program('./a/tool', '/bin')).toBe(join(folder, 'a/tool'));
    expect(program('link/../x', '/bin')).toBe(`${folder}/link/../x`);
    expect(program('/no/such', '/bin')).toBe('/no/such');
    expect(resolveCommand(['./x'], '/')).toEqual({ program: '/x', argv: ['./x'], cwd: '/' });
  });

  it('says when there is none', () => {
    expect(() => program('tool', '/nowhere')).toThrow(
      expect.objectContaining({ code: 'E_PROGRAM_NOT_FOUND', exitCode: 127 }),
    );
    expect(() => resolveCommand([])).toThrow(expect.objectContaining({ code: 'E_NO_COMMAND', exitCode: 2 }));
  });
});
