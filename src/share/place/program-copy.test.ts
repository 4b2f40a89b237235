/** Copies of a program and of restore: readelf is the judge of what they say, the kernel of what they do. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readElf } from '../../elf/read.ts';
import { runtimeFile } from '../../sys/runtime.ts';
import { copyProgram, copyRestore } from './program-copy.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-copy-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

function run(command: string, ...words: string[]) {
  const { status, stdout, stderr } = spawnSync(command, words, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

function compile(name: string, source: string, ...flags: string[]): string {
  writeFileSync(at(`${name}.c`), source);
  expect(run('gcc', '-O1', '-o', at(name), at(`${name}.c`), ...flags).stderr).toBe('');
  return at(name);
}

const LOADER = '/lib64/ld-linux-x86-64.so.2';
const MAIN = '#include <stdio.h>\nint main(void) { puts("here"); return 7; }\n';
let program = '';
beforeAll(() => {
  program = compile('main', MAIN);
});

const copyOf = (path: string, interpreter: string) =>
  copyProgram(readElf(readFileSync(path), path), interpreter);

function written(path: string, interpreter: string): string {
  const copy = copyOf(path, interpreter);
  if (!Buffer.isBuffer(copy)) throw new Error(copy.reason);
  writeFileSync(`${path}.copy`, copy);
  chmodSync(`${path}.copy`, 0o755);
  return `${path}.copy`;
}

describe('the copy of a program', () => {
  it('names the other loader, and is the program in all else', () => {
    const interpreter = `/somewhere/${'deep/'.repeat(40)}restore`;
    const copy = written(program, interpreter);
    expect(run('readelf', '-lW', copy).stdout).toContain(`[Requesting program interpreter: ${interpreter}]`);
    const [before, after] = [readFileSync(program), readFileSync(copy)];
    // As long for names that are a little longer or shorter, so that what it begins with is the same.
    expect(after.length).toBe(before.length + 256);
    expect(after.subarray(before.length + interpreter.length).every((byte) => byte === 0)).toBe(true);
    const entry = readElf(before, program).segments.findIndex(({ type }) => type === 3);
    const header = 64 + 56 * entry;
    const changed = [...before].flatMap((byte, i) => (byte === after[i] ? [] : [i]));
    for (const offset of changed) {
      expect(offset).toBeGreaterThanOrEqual(header + 8);
      expect(offset).toBeLessThan(header + 48);
    }
    for (const view of ['-SW', '-rW', '-dW', '-sW', '-nW'])
      expect(run('readelf', view, copy).stdout).toBe(run('readelf', view, program).stdout);
    const lint = (path: string) => run('eu-elflint', '--gnu-ld', path).stdout;
    expect(lint(copy)).toBe(lint(program));
  });

  it('runs with the loader it names, also where the program has fixed addresses', () => {
    for (const [name, flag] of [
      ['pie', '-pie'],
      ['fixed', '-no-pie'],
    ] as const) {
      const path = compile(name, MAIN, flag);
      expect(run(written(path, LOADER))).toEqual({ status: 7, stdout: 'here\n', stderr: '' });
      // The kernel looks for the loader under the name of the copy.
      expect(spawnSync(written(path, at('none'))).error).toMatchObject({ code: 'ENOENT' });
    }
  });

  it('is refused where something stands behind the last section, and where there is no loader', () => {
    const fat = at('fat');
    writeFileSync(fat, Buffer.concat([readFileSync(program), Buffer.from('PAYLOAD')]));
    expect(copyOf(fat, '/x')).toMatchObject({
      kind: 'kept',
      reason: expect.stringMatching(/behind its last section/),
    });
    expect(copyOf(compile('static', MAIN, '-static'), '/x')).toEqual({
      kind: 'kept',
      reason: 'not dynamically linked',
    });
    expect(copyOf(program, `/${'x'.repeat(4095)}`)).toMatchObject({
      reason: 'the path of the image is too long',
    });
  });
});

describe('the copy of restore', () => {
  const source = (size: number) => `
    __attribute__((section(".note.winnow"), used, aligned(4))) const struct { unsigned n, d, t; char name[8]; char path[${size}]; }
      note = {7, ${size}, 0x4e4c, "winnow", ""};
    int main(void) { return 0; }`;

  it('has the path of the image in its note', () => {
    const restore = compile('restore', source(4096));
    const copy = copyRestore(readFileSync(restore), '/images/x/00-git.linked', restore);
    writeFileSync(at('restore.copy'), copy);
    expect(run('readelf', '-nW', at('restore.copy')).stdout).toContain(
      Buffer.from('/images/x/00-git.linked\0').toString('hex').replace(/../g, '$& ').trim(),
    );
    expect(copy.length).toBe(readFileSync(restore).length);
    const again = copyRestore(copy, '/y', restore);
    expect(again.includes('00-git.linked')).toBe(false);
  });

  it('is refused where it has no such note', () => {
    for (const path of [program, compile('small', source(64))])
      expect(() => copyRestore(readFileSync(path), '/x', path)).toThrow('E_RUNTIME_MISSING');
  });

  it('is that of the runtime', () => {
    const path = runtimeFile('restore');
    expect(copyRestore(readFileSync(path), '/images/x', path).includes('/images/x\0')).toBe(true);
  });
});
