/** A signal in the middle of a command: it ends by it, and leaves nothing behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runWinnow, WINNOW, winnowOn } from './support/winnow.ts';

/** Not in /tmp, which may be in memory: what lies there is left out of profiles. */
const folder = mkdtempSync(join(import.meta.dirname, '.programs-interrupted-'));
const store = join(folder, 'store');
const temporary = join(folder, 'tmp');
const images = join(store, 'images');
/** Long enough to analyse that a signal comes in the middle. */
const PROGRAM = ['/usr/bin/git', '--version'];
const BUSY_MS = 60_000;

beforeAll(() => {
  mkdirSync(temporary);
  expect(winnowOn(store)('record', ['--functions', '--name', 'one', '--', ...PROGRAM]).status).toBe(0);
  expect(winnowOn(store)('build', ['--name', 'one', '--only', 'prefetch']).status).toBe(0);
}, BUSY_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Whoever removes it is no child of ours. */
async function untilGone(folder: string, prefix: string): Promise<void> {
  const left = (): string[] =>
    below(folder).filter((name) => name.startsWith(prefix) || name.endsWith(prefix));
  for (let waited = 0; waited < 5000 && left().length > 0; waited += 10) await sleep(10);
  expect(left()).toEqual([]);
}

const below = (path: string): string[] => (existsSync(path) ? readdirSync(path) : []);

/** Runs winnow, and sends the signal as soon as what it is told to wait for is there. */
async function interrupted(words: readonly string[], signal: NodeJS.Signals, isTime: () => boolean) {
  const child = spawn(WINNOW, words, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary, XDG_CACHE_HOME: join(temporary, 'cache') },
  });
  const ended = once(child, 'close');
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (said += text));
  child.stdout.resume();
  while (!isTime() && child.exitCode === null && child.signalCode === null) await sleep(1);
  child.kill(signal);
  const [status, by] = await ended;
  rmSync(join(temporary, 'cache'), { recursive: true, force: true });
  return { status, by, said };
}

const isStaged = (): boolean => below(images).some((name) => name.endsWith('.stage'));
const isMeasured = (): boolean => below(temporary).some((name) => name.startsWith('winnow-sharing-'));
const build = ['build', '--store', store, '--name', 'one'];

describe('winnow build', () => {
  it.each<[NodeJS.Signals, string]>([
    ['SIGINT', 'select'],
    ['SIGTERM', 'prefetch,select'],
    ['SIGHUP', 'share'],
    ['SIGKILL', 'select'],
  ])(
    'ended by %s with --only %s leaves the images as they were',
    async (signal, only) => {
      const current = readlinkSync(join(images, 'one'));
      const { status, by, said } = await interrupted([...build, '--only', only], signal, isStaged);
      expect({ status, by, said }).toEqual({ status: null, by: signal, said: '' });
      await untilGone(images, '.stage');
      expect(readlinkSync(join(images, 'one'))).toBe(current);
      expect(runWinnow(['image', 'show', '--store', store, 'one']).status).toBe(0);
    },
    BUSY_MS,
  );
});

describe('winnow report --sharing', () => {
  it.each<NodeJS.Signals>(['SIGINT', 'SIGTERM'])(
    'ended by %s leaves no temporary files',
    async (signal) => {
      const { status, by, said } = await interrupted(
        ['report', '--store', store, '--sharing', '--', ...PROGRAM],
        signal,
        isMeasured,
      );
      expect({ status, by, said }).toEqual({ status: null, by: signal, said: '' });
      await untilGone(temporary, 'winnow-sharing-');
    },
    BUSY_MS,
  );
});
