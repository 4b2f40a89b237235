/** Where a command finds itself: streams that cannot be written, a folder that is gone, no Node. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runWinnow, WINNOW } from './support/winnow.ts';

let folder = '';

const winnow = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  runWinnow(args, { cwd: folder, env: { ...process.env, XDG_DATA_HOME: folder, ...env } });

beforeAll(() => {
  // Not in /tmp, which may be in memory: what lies there is left out of profiles.
  folder = mkdtempSync(join(import.meta.dirname, '.programs-surroundings-'));
  writeFileSync(join(folder, 'script'), '#!/bin/sh\necho out; echo err >&2; exit 7\n', { mode: 0o755 });
  expect(winnow(['record', '--', '/bin/true']).status).toBe(0);
  expect(winnow(['build', '--', '/bin/true']).status).toBe(0);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('output that cannot be written', () => {
  const onStreams = (args: readonly string[], stdout: number | 'pipe', stderr: number | 'pipe') =>
    spawnSync(WINNOW, args, {
      cwd: folder,
      encoding: 'utf8',
      timeout: 30_000,
      killSignal: 'SIGKILL',
      stdio: ['ignore', stdout, stderr],
      env: { ...process.env, XDG_DATA_HOME: folder },
    });

  it.each([['report'], ['profile list --json'], ['build --name true'], ['record --help'], ['--version']])(
    'of %s: a full disk is one error, an error of the environment',
    (words) => {
      const full = openSync('/dev/full', 'w');
      const { status, stderr } = onStreams(words.split(' '), full, 'pipe');
      closeSync(full);
      expect(stderr).toMatch(/^winnow: E_OUTPUT: .*ENOSPC\n {2}where: stdout\n {2}next: {2}.+\n$/);
      expect(status).toBe(3);
    },
  );

  it.each([['report'], ['inspect --relocations /bin/true'], ['--help']])(
    'of %s, as the reader has gone: nothing is said, and the exit code is that of SIGPIPE',
    async (words) => {
      const child = spawn(WINNOW, words.split(' '), {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, XDG_DATA_HOME: folder },
      });
      // Long before Node has started.
      child.stdout.destroy();
      let said = '';
      child.stderr.setEncoding('utf8').on('data', (text) => (said += text));
      const [status] = await once(child, 'close');
      expect({ status, said }).toEqual({ status: 141, said: '' });
    },
  );

  it('on stderr changes no exit code', () => {
    const full = openSync('/dev/full', 'w');
    const recorded = onStreams(['record', '--', './script'], 'pipe', full);
    expect([recorded.status, recorded.stdout]).toEqual([7, 'out\n']);
    const refused = onStreams(['report', 'nothing'], 'pipe', full);
    expect([refused.status, refused.stdout]).toEqual([4, '']);
    closeSync(full);
  });
});

describe('a current folder that was removed', () => {
  const inNoFolder = (words: string) => {
    const gone = mkdtempSync(join(folder, 'gone-'));
    return spawnSync('sh', ['-c', `rmdir '${gone}'; exec '${WINNOW}' ${words}`], {
      cwd: gone,
      encoding: 'utf8',
      timeout: 30_000,
      env: { ...process.env, XDG_DATA_HOME: folder },
    });
  };

  it.each([
    ['record -- /bin/true', 125],
    ['run -- /bin/true', 125],
    ['verify -- /bin/true', 3],
    ['profile export true', 3],
    ['report --sharing -- /bin/true', 3],
  ])('%s: an error with exit code %i', (words, code) => {
    const { status, stdout, stderr } = inNoFolder(words);
    expect({ status, stdout }, stderr).toEqual({ status: code, stdout: '' });
    expect(stderr).toMatch(/^winnow: E_FOLDER_GONE: .+\n {2}next: {2}.+\n$/m);
  });

  it('keeps nothing else from working', () => {
    expect(inNoFolder('report true').status).toBe(0);
    expect(inNoFolder('build --name true').status).toBe(0);
  });
});

describe('bin/winnow', () => {
  it.each([
    ['report', 3],
    ['record -- true', 125],
    ['run -- true', 125],
  ])('without node on PATH: %s is an error with exit code %i', (words, code) => {
    const { status, stdout, stderr } = winnow(words.split(' '), { PATH: '/nonexistent' });
    expect({ status, stdout }).toEqual({ status: code, stdout: '' });
    expect(stderr).toBe(
      'winnow: E_NOT_ON_PATH: node, which winnow needs, is not on PATH\n  where: /nonexistent\n  next:  install it, or add its folder to PATH\n',
    );
  });
});
