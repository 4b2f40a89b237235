/** `winnow run`, `build`, `image` and `install` as a person uses them. Needs dist/ (npm run build). */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from '../src/profile/store.ts';
import { profileOf, Scene } from './launch-scene.ts';
import { codeOf, WINNOW, winnowOn } from './support/winnow.ts';

const scene = new Scene();
const store = join(scene.folder, 'store');
afterAll(() => scene.drop());

const on = winnowOn(store);
const winnow = (command: string, ...words: readonly string[]) => on(command, words);

beforeAll(() => {
  const files = [{ path: scene.data, extents: scene.extents }];
  const [run] = profileOf({ program: scene.program, argv: ['launched', 'report'], files }).runs;
  if (run === undefined) throw new Error('no run');
  openStore({ store }).addRun('launched-report', run);
});

describe('from a profile to a command', () => {
  it('builds by command, shows, runs, installs and drops', () => {
    const built = winnow('build', '--', scene.program, 'report');
    expect(built.stderr).toBe('');
    expect(built.stdout).toContain('built launched-report: 1 file');
    expect(JSON.parse(winnow('build', '--name', 'launched-report', '--json').stdout)).toMatchObject({
      winnow: 'build',
      name: 'launched-report',
      prefetch: { files: 1 },
    });
    expect(winnow('image list').stdout).toMatch(/launched-report +1 /);
    expect(JSON.parse(winnow('image show', 'launched-report', '--json').stdout).plan.files[0].path).toBe(
      scene.data,
    );
    expect(winnow('image show', 'launched-report', '--files').stdout).toContain(scene.data);
    const bin = join(scene.folder, 'bin');
    const installed = winnow('install', 'launched-report', '--dir', bin, '--as', 'tool', '--with-arguments');
    expect(installed.stderr).toContain(`${bin} is not on PATH`);
    expect(spawnSync(join(bin, 'tool'), ['more'], { encoding: 'utf8' }).stdout).toContain(
      'argv report\nargv more\n',
    );
    expect(winnow('image drop', 'sample').stderr).toContain('dropped sample');
  });

  it('finds a recording and an image under a name that a person gave', () => {
    const command = ['--', scene.program, 'exit', '23'];
    expect(winnow('record', '--name', 'mine', ...command).status).toBe(23);
    expect(winnow('build', ...command).stdout).toMatch(/^built mine: /);
    expect(winnow('report', ...command).stdout).toContain('mine');
    expect(winnow('record', ...command).stderr).toContain('recorded mine: ');
    const run = winnow('run', ...command);
    expect([run.status, run.stderr]).toEqual([23, '']);
    winnow('image drop', 'mine');
    winnow('profile drop', 'mine');
  });

  it('hands the program what a plain exec would', () => {
    const words = [scene.program, 'report', 'a b', ''];
    const options = { encoding: 'utf8', env: { ...process.env, THROUGH_SHELL: '1' } } as const;
    const plain = spawnSync(scene.program, ['set-up', scene.program, ...words], options);
    const all = ['set-up', WINNOW, WINNOW, 'run', '--store', store, '--', ...words];
    const run = spawnSync(scene.program, all, options);
    expect(run.stderr).toBe('');
    // A shell on the way puts the environment in another order.
    const sorted = (text: string): string[] => text.split('\n').sort();
    expect(sorted(run.stdout)).toEqual(sorted(plain.stdout));
  });

  it('passes bytes that are no text', () => {
    const script = `exec "$0" run --store "$1" -- "$2" report "$(printf 'a\\377b')"`;
    const args = ['-c', script, WINNOW, store, scene.program];
    const { stdout, stderr, status, signal } = spawnSync('sh', args, { encoding: 'latin1' });
    expect({ stderr, status, signal }).toEqual({ stderr: '', status: 0, signal: null });
    expect(stdout).toContain('argv a\u00ffb\n');
  });

  it('ends as the program ends', () => {
    expect(winnow('run', '--', scene.program, 'exit', '41').status).toBe(41);
    expect(winnow('run', '--name', 'launched-report', '--', 'any', 'kill', '15').signal).toBe('SIGTERM');
  });

  it('says what is wrong, apart from the program’s own exit codes', () => {
    const code = (command: string, ...words: readonly string[]) => {
      const ran = winnow(command, ...words);
      return [ran.status, codeOf(ran)];
    };
    expect(code('run', '--', '/bin/true')).toEqual([125, 'E_NO_IMAGE']);
    expect(code('run', '--', '/nowhere/prog')).toEqual([127, 'E_PROGRAM_NOT_FOUND']);
    expect(code('run')).toEqual([2, 'E_USAGE']);
    expect(code('build', '--name', 'nothing')).toEqual([4, 'E_NO_PROFILE']);
    expect(code('build', '--', '/bin/true')).toEqual([4, 'E_NO_PROFILE']);
    expect(code('build', '--gap', 'x')).toEqual([2, 'E_USAGE']);
    expect(code('image show', 'nothing')).toEqual([4, 'E_NO_IMAGE']);
    expect(code('install', 'nothing')).toEqual([4, 'E_NO_IMAGE']);
  });
});
