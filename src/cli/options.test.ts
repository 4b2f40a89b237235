import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { addExample, addJsonOption, addStoreOption, splitAtDashes, toJson } from './options.ts';

describe('toJson', () => {
  it('names kind and version first and writes bigints as decimal strings', () => {
    const text = toJson('usage', 1, { inode: 2n ** 60n, gone: undefined, list: [1n] });
    expect(text).toBe(
      '{\n  "winnow": "usage",\n  "version": 1,\n  "inode": "1152921504606846976",\n  "list": [\n    "1"\n  ]\n}\n',
    );
  });

  it('wraps what is not an object', () => {
    expect(JSON.parse(toJson('list', 2, ['a']))).toEqual({ winnow: 'list', version: 2, value: ['a'] });
  });
});

describe('the shared options', () => {
  it('are parsed under their names', () => {
    const command = addJsonOption(addStoreOption(new Command('x')));
    command.parse(['--store', '/s', '--json'], { from: 'user' });
    expect(command.opts()).toEqual({ store: '/s', json: true });
  });

  it('puts the example in front of the help', () => {
    const command = addExample(new Command('x'), 'winnow x a');
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    expect(help.startsWith('Example:\n  $ winnow x a\n')).toBe(true);
  });
});

describe('splitAtDashes', () => {
  const split = (...words: string[]) =>
    splitAtDashes(
      words.filter((word) => word !== '--'),
      ['node', 'winnow', ...words],
    );

  it('tells a name from a command', () => {
    expect(split('git')).toEqual({ before: ['git'], command: undefined });
    expect(split('--', 'git', 'status')).toEqual({ before: [], command: ['git', 'status'] });
    expect(split('name', '--')).toEqual({ before: ['name'], command: [] });
    expect(splitAtDashes(['git', 'log', '--', 'f'], ['n', 'w', '--', 'git', 'log', '--', 'f'])).toEqual({
      before: [],
      command: ['git', 'log', '--', 'f'],
    });
  });
});
