/** What holds for every command: help, wrong words, colour, JSON, and what goes to which stream. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const WINNOW = join(import.meta.dirname, '..', 'bin', 'winnow');
const COMMANDS = [
  'record',
  'report',
  'build',
  'run',
  'verify',
  'bench',
  'install',
  'profile',
  'image',
  'inspect',
  'doctor',
];
const ESCAPE = '\x1b';

let folder = '';
let store = '';

function winnow(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return spawnSync(WINNOW, args, {
    cwd: folder,
    encoding: 'utf8',
    timeout: 30_000,
    killSignal: 'SIGKILL',
    input: '',
    env: { ...process.env, XDG_DATA_HOME: folder, ...env },
  });
}

beforeAll(() => {
  // Not in /tmp, which may be in memory: what lies there is left out of profiles.
  folder = mkdtempSync(join(import.meta.dirname, '.programs-cli-'));
  store = join(folder, 'winnow');
  writeFileSync(join(folder, 'script'), '#!/bin/sh\necho out; echo err >&2; exit 7\n', { mode: 0o755 });
  expect(winnow(['record', '--', '/bin/true']).status).toBe(0);
  expect(winnow(['build', '--', '/bin/true']).status).toBe(0);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('help', () => {
  it('lists every command', () => {
    const { status, stdout, stderr } = winnow(['--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const name of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
  });

  for (const name of COMMANDS) {
    it(`of ${name} shows an example first`, () => {
      const { status, stdout, stderr } = winnow([name, '--help']);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(new RegExp(`^Example:\\n  \\$ .*winnow ${name}\\b`));
      expect(stdout).toContain(`Usage: winnow ${name}`);
    });
  }

  for (const words of ['profile list', 'profile show', 'profile merge', 'image list', 'image show']) {
    it(`of ${words} too`, () => {
      expect(winnow([...words.split(' '), '--help']).stdout).toMatch(
        new RegExp(`^Example:\\n  \\$ winnow ${words}`),
      );
    });
  }
});

describe('what winnow does not know', () => {
  const wrong: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['a command', ['recrod'], /unknown command 'recrod'[\s\S]*record/],
    ['an option', ['report', '--colour'], /unknown option '--colour'/],
    ['an option before --', ['record', '--frobnicate', '--', 'true'], /unknown option '--frobnicate'/],
    ['a command of profile', ['profile', 'liste'], /unknown command 'liste'[\s\S]*list/],
    ['nothing to record', ['record'], /E_USAGE: no command to record[\s\S]*next:/],
    ['nothing to run', ['run'], /E_USAGE: no command to run[\s\S]*next:/],
    ['an argument that is missing', ['inspect'], /missing required argument 'elf'/],
    ['an empty folder', ['report', '--store='], /invalid: it must be the path of a folder/],
    ['an empty root', ['build', '--root', ''], /invalid: it must be the path of a folder/],
    ['two reports', ['report', '--functions', '--sharing'], /--functions and --sharing ask for different/],
    ['files in a report of functions', ['report', '--functions', '--lookups'], /different reports/],
    ['JSON without misses', ['record', '--json', 'x', '--', 'true'], /--json is about what was missed/],
    ['a snapshot of so long', ['record', '--pid', '1', '--for', '1s'], /--for means nothing with --pid/],
    [
      'a quick run of an image',
      ['record', '--from-misses', '--quick', '--', 'true'],
      /--quick means nothing with --from-misses/,
    ],
    ['an argument too many', ['doctor', 'x'], /too many arguments/],
    ['a value', ['bench', '--runs', '0', '--', 'true'], /invalid: it must be a whole number/],
    [
      'a value that is missing',
      ['image', 'show', '--store'],
      /argument missing[\s\S]*winnow image show --help/,
    ],
  ];
  for (const [what, words, message] of wrong) {
    it(`${what}: exit code 2, a message on stderr, nothing on stdout`, () => {
      const { status, stdout, stderr } = winnow(words);
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/^winnow: E_USAGE: .+\n(?: {2}where: .+\n)? {2}next: {2}.+\n$/);
    });
  }

  it('no command at all: the help on stderr', () => {
    const { status, stdout, stderr } = winnow([]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain('Usage: winnow');
  });
});

const JSON_COMMANDS: readonly (readonly [string, readonly string[]])[] = [
  ['usage', ['report', '--json']],
  ['profiles', ['profile', 'list', '--json']],
  ['runs', ['profile', 'show', 'true', '--json']],
  ['build', ['build', '--name', 'true', '--json']],
  ['images', ['image', 'list', '--json']],
  ['image', ['image', 'show', 'true', '--json']],
  ['inspect', ['inspect', '--json', '/bin/true']],
  ['verify', ['verify', '--json', '--', '/bin/true']],
  ['bench', ['bench', '--json', '--warm-only', '--runs', '2', '--', '/bin/true']],
  ['doctor', ['doctor', '--json']],
];

describe('JSON', () => {
  for (const [kind, words] of JSON_COMMANDS) {
    it(`of ${words.slice(0, 2).join(' ')} carries its kind and version`, () => {
      const { status, stdout, stderr } = winnow(words);
      expect(status, stderr).toBe(0);
      const value: unknown = JSON.parse(stdout);
      expect(value).toMatchObject({ winnow: kind, version: expect.any(Number) });
    });
  }
});

describe('the streams', () => {
  it('leave the recorded program’s output as it is; talk goes to stderr', () => {
    const { status, stdout, stderr } = winnow(['record', '--', './script']);
    expect({ status, stdout }).toEqual({ status: 7, stdout: 'out\n' });
    expect(stderr).toMatch(/^err\nwinnow: recorded script/);
  });

  it('keep errors on stderr: what, where, what next', () => {
    const { status, stdout, stderr } = winnow(['report', 'nothing']);
    expect({ status, stdout }).toEqual({ status: 4, stdout: '' });
    expect(stderr).toMatch(/^winnow: E_NO_PROFILE: .*\n(?: {2}where: .*\n)? {2}next: {2}.*\n$/);
  });

  it('carry no colour where there is no terminal', () => {
    for (const words of [['report'], ['doctor'], ['image', 'list'], ['profile', 'list'], ['--help']]) {
      const { stdout, stderr } = winnow(words);
      expect(stdout).not.toBe('');
      expect(stdout + stderr).not.toContain(ESCAPE);
    }
  });
});

describe('colour on a terminal', () => {
  const onTerminal = (env: Readonly<Record<string, string>>) => {
    const code = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)';
    const { NO_COLOR: _, ...others } = process.env;
    return spawnSync('/usr/bin/python3', ['-c', code, WINNOW, 'doctor'], {
      encoding: 'utf8',
      input: '',
      timeout: 30_000,
      env: { ...others, TERM: 'xterm', XDG_DATA_HOME: folder, ...env },
    }).stdout;
  };
  it('is there, and goes with NO_COLOR', () => {
    expect(onTerminal({})).toContain(`${ESCAPE}[32m`);
    expect(onTerminal({ NO_COLOR: '1' })).not.toContain(ESCAPE);
  });
});

describe('winnow doctor', () => {
  const checksOf = (...words: readonly string[]): { name: string; state: string; means: string }[] =>
    JSON.parse(winnow(['doctor', '--json', ...words]).stdout).checks;
  const stateOf = (name: string, ...words: readonly string[]) =>
    checksOf(...words).find((check) => check.name === name)?.state;

  it('says what follows for each thing', () => {
    const checks = checksOf();
    expect(checks.length).toBeGreaterThan(10);
    expect(new Set(checks.map(({ name }) => name)).size).toBe(checks.length);
    for (const { means, state } of checks) {
      expect(means).not.toBe('');
      expect(['good', 'less', 'bad', 'fact']).toContain(state);
    }
  });

  it('sees a store that others can write', () => {
    expect(stateOf('store', '--store', store)).toBe('good');
    const open = join(folder, 'open');
    mkdirSync(open);
    spawnSync('chmod', ['777', open]);
    expect(stateOf('store', '--store', open)).toBe('bad');
  });

  it('leaves nothing behind, also where there is no store yet', () => {
    const nowhere = join(folder, 'not', 'there');
    expect(stateOf('store', '--store', nowhere)).toBe('good');
    expect(spawnSync('find', [folder, '-name', '.winnow-doctor*'], { encoding: 'utf8' }).stdout).toBe('');
    expect(spawnSync('ls', [join(folder, 'not')]).status).not.toBe(0);
  });
});
