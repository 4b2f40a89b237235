import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { argvShape } from './argv-shape.ts';
import { checkName, commandKey, defaultName, distinctName, isValidName, similarNames } from './name.ts';

const command = (program: string, ...rest: string[]) => ({
  program,
  argv: [program, ...rest],
  cwd: '/',
});

describe('argvShape', () => {
  it.each([
    [
      ['as', '-o', '/tmp/ccAb12.o', '/tmp/ccXy99.s'],
      ['as', '-o', '/tmp/*.o', '/tmp/*.s'],
    ],
    [
      ['cc1', '-O2', '-std=c++17', '-march=x86-64-v3', '-m64'],
      ['cc1', '-O2', '-std=c++17', '-march=x86-64-v3', '-m64'],
    ],
    [
      ['x', '--plugin=/tmp/ccres.res', '-I/tmp/build-1234/include'],
      ['x', '--plugin=/tmp/*.res', '-I/tmp/*/include'],
    ],
    [
      ['chromium', '--type=renderer', '--field-trial-handle=0,i,12345678,9876', '--pid=31337'],
      ['chromium', '--type=renderer', '--field-trial-handle=0,i,*,*', '--pid=*'],
    ],
    [
      ['git', 'show', 'deadbeef0123', '9b2c3d4e-1111-2222-3333-444455556666'],
      ['git', 'show', '*', '*'],
    ],
    [
      ['sh', 'feedback', 'decade', '/run/user/1000/x.sock', '/var/tmp/y'],
      ['sh', 'feedback', 'decade', '/run/user/*/*.sock', '/var/tmp/*'],
    ],
  ])('%j', (argv, shape) => {
    expect(argvShape(argv)).toEqual(shape);
  });

  it('bounds what a linker with thousands of objects leaves in a profile', () => {
    const shape = argvShape([
      'ld',
      ...Array.from({ length: 5000 }, (_, n) => `o${n % 100}.o`),
      'z'.repeat(1e6),
    ]);
    expect(shape.length).toBe(64);
    expect(shape.at(-1)).toBe('*');
    expect(argvShape(['z'.repeat(1e6)])[0]?.length).toBe(256);
  });

  it('leaves a shape as it is', () => {
    const piece = fc.constantFrom(
      '/tmp/',
      '/',
      '.s',
      'cc',
      '1234',
      'deadbeef99',
      '=',
      '-',
      '*',
      'x',
      '0x',
      ' ',
    );
    const argument = fc.oneof(
      fc.string(),
      fc.array(piece).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(fc.array(argument), (argv) => {
        const shape = argvShape(argv);
        expect(argvShape(shape)).toEqual(shape);
      }),
    );
  });
});

describe('names', () => {
  it.each([
    [command('/usr/bin/git', 'status'), 'git-status'],
    [command('/usr/bin/python3', 'app.py'), 'python3-app.py'],
    [command('/usr/bin/python3', '/home/ann/My App.py'), 'python3-My-App.py'],
    [command('/usr/bin/node', '-e', '0'), 'node-e-0'],
    [command('/usr/bin/g++', '-O2', 'hello.cc', '-o', '/tmp/x123'), 'g++-O2-hello.cc-o'],
    [command('/bin/[', ']'), 'program'],
    [command('/usr/bin/..x'), 'x'],
  ])('%j is %s', (of, name) => {
    expect(defaultName(of)).toBe(name);
  });

  it('are always valid, and at most 40 characters', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' })), fc.string(), (rest, program) => {
        const of = command(`/${program}`, ...rest);
        expect(defaultName(of).length).toBeLessThanOrEqual(40);
        expect(isValidName(defaultName(of))).toBe(true);
        expect(isValidName(distinctName(of))).toBe(true);
      }),
    );
  });

  it('tell commands apart that have one default name', () => {
    const one = command('/usr/bin/python3', '/a/app.py');
    const other = command('/usr/bin/python3', '/b/app.py');
    expect(defaultName(one)).toBe(defaultName(other));
    expect(commandKey(one)).not.toBe(commandKey(other));
    expect(distinctName(one)).not.toBe(distinctName(other));
    expect(distinctName(one)).toMatch(/^python3-app\.py-[0-9a-f]{6}$/);
  });

  it('are the same for runs that differ in temporary names only', () => {
    expect(commandKey(command('/bin/as', '/tmp/ccA1.s'))).toBe(commandKey(command('/bin/as', '/tmp/ccB2.s')));
  });

  it.each(['', '.hidden', '-x', 'a/b', '..', 'a b', 'ü', 'x'.repeat(81), 'a\n'])('%j is refused', (name) => {
    expect(() => checkName(name)).toThrow(expect.objectContaining({ code: 'E_BAD_NAME', exitCode: 2 }));
  });

  it('finds what was meant', () => {
    const names = ['git-status', 'git-log', 'node-e-0', 'python3-app.py'];
    expect(similarNames('git-statsu', names)).toEqual(['git-status']);
    expect(similarNames('git', names)).toEqual(['git-log', 'git-status']);
    expect(similarNames('inkscape', names)).toEqual([]);
  });
});
