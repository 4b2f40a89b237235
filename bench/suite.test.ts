/** The suite takes down what it set up. Needs root, loop devices, ext4 and a built dist/. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { parseOptions } from './options.ts';

const MAIN = join(import.meta.dirname, '..', 'dist', 'bench', 'main.js');
const canMount =
  process.getuid?.() === 0 &&
  existsSync('/dev/loop-control') &&
  existsSync(MAIN) &&
  spawnSync('unshare', ['--mount', 'true']).status === 0;

/** What there is of the suite that said `talk`: its loop device, mounts, folder and control group. */
function traces(talk: string): string[] {
  const [, folder, id] = /working in (\S+) as process (\d+)/.exec(talk) ?? [];
  if (folder === undefined) throw new Error(`the suite did not say where it works: ${talk}`);
  const loops = spawnSync('losetup', ['--all'], { encoding: 'utf8' }).stdout.split('\n');
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const groups = ['/sys/fs/cgroup/blkio', '/sys/fs/cgroup'].map((at) => join(at, `winnow-bench-${id}`));
  return [
    ...[...loops, ...mounts].filter((line) => line.includes(folder)),
    ...[folder, ...groups].filter((path) => existsSync(path)),
  ];
}

describe('the suite', () => {
  const canRun = it.skipIf(!process.env.CI && !canMount);

  canRun('makes every mode ready, and leaves nothing after a dry run (needs root and loop devices)', () => {
    const modes = 'prefetch,share,prefetch+select+share,vmtouch';
    const words = [MAIN, '--programs', 'true', '--modes', modes, '--dry-run', '--no-install'];
    const done = spawnSync(process.execPath, words, { encoding: 'utf8' });
    expect(done.status, done.stderr).toBe(0);
    // A mode that fails, or in which nothing starts linked from the disk that was mounted anew, would be told here.
    expect(done.stdout).not.toContain('Not measured');
    expect(traces(done.stderr)).toEqual([]);
  });

  canRun('leaves nothing after SIGTERM in the middle (needs root and loop devices)', async () => {
    const words = [MAIN, '--programs', 'true', '--parts', 'warm', '--warm-rounds', '100000', '--no-install'];
    const suite = spawn(process.execPath, words, { stdio: ['ignore', 'ignore', 'pipe'] });
    let talk = '';
    suite.stderr.on('data', (text) => {
      talk += String(text);
    });
    const ended = new Promise<number | null>((done) => suite.on('exit', done));
    while (!talk.includes('warm: true') && suite.exitCode === null) await sleep(20);
    // The folder, the loop device and the control group, where there is one.
    expect(traces(talk).length).toBeGreaterThanOrEqual(2);
    suite.kill('SIGTERM');
    expect(await ended).toBe(130);
    expect(traces(talk)).toEqual([]);
  });
});

describe('its options', () => {
  it('are refused with the list of those that there are', () => {
    expect(() => parseOptions(['--programs', 'emacs'])).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
    expect(() => parseOptions(['--rounds', '0'])).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
    expect(() => parseOptions(['--variant', 'workers'])).toThrow(
      expect.objectContaining({ code: 'E_USAGE' }),
    );
  });

  it('write the document only after a whole run', () => {
    expect(parseOptions([])).toMatchObject({ block: 'prefetch', json: 'bench/results/prefetch.json' });
    expect(parseOptions(['--programs', 'node'])).toMatchObject({ block: undefined, json: undefined });
    expect(parseOptions(['--modes', 'share'])).toMatchObject({ block: undefined, json: undefined });
    expect(parseOptions(['--modes', 'share', '--block', 'together'])).toMatchObject({ block: 'together' });
  });
});
