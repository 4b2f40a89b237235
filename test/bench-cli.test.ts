/** `winnow bench` as a person runs it. Nothing is said about how fast anything was. */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mayDropCaches } from '../src/bench/cold.ts';
import { openStore } from '../src/profile/store.ts';
import { diskFolder, extent, profileOf, writePages } from './launch-scene.ts';
import { isThere } from './support/files.ts';
import { codeOf, type Ran, winnowOn } from './support/winnow.ts';

const folder = diskFolder();
const store = join(folder, 'store');
const data = join(folder, 'data');
const winnow = winnowOn(store);
/** Cold runs wait until the devices are quiet, which on a busy machine takes its time. */
const bench = (...words: readonly string[]): Ran => winnow('bench', words, { timeout: 50_000 });
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(() => {
  writePages(data, 64);
  const files = [{ path: data, extents: [extent(0, 32)] }];
  const [run] = profileOf({ program: '/bin/cat', argv: ['cat', data], files }).runs;
  if (run === undefined) throw new Error('no run');
  openStore({ store }).addRun('cat', run);
  const built = winnow('build', ['--name', 'cat']);
  expect(built.status, built.stderr).toBe(0);
});

const median = expect.objectContaining({ count: 3, median: expect.any(Number), mad: expect.any(Number) });
const figures = { wallMs: median, cpuMs: median, majorFaults: median };
const ratio = { count: 3, median: expect.any(Number), interval: [expect.any(Number), expect.any(Number)] };

describe('winnow bench', () => {
  it('gives every mode and the machine as JSON', () => {
    const ran = bench('--runs', '3', '--warm-only', '--json', '--', '/bin/cat', data);
    expect(ran.status, ran.stderr).toBe(0);
    const report = JSON.parse(ran.stdout);
    expect(report).toMatchObject({
      winnow: 'bench',
      version: 1,
      command: ['/bin/cat', data],
      rounds: 3,
      machine: {
        cpu: expect.stringMatching(/./),
        cores: expect.any(Number),
        memoryBytes: expect.any(Number),
        system: expect.stringMatching(/./),
        kernel: expect.stringMatching(/^\d+\.\d+/),
        node: expect.stringMatching(/^v?\d+\./),
      },
      sections: [
        {
          temperature: 'warm',
          modes: [
            { name: 'plain', ...figures },
            { name: 'image', ...figures, speedup: ratio },
          ],
        },
      ],
      unmeasured: [],
    });
    expect(report.sections).toHaveLength(1);
    expect(report.sections[0]).not.toHaveProperty('cold');
    const [plain, image] = report.sections[0].modes;
    expect(plain).not.toHaveProperty('speedup');
    const success = { status: { kind: 'exited', code: 0 }, wallMs: expect.any(Number) };
    for (const mode of [plain, image]) expect(mode.samples).toMatchObject([success, success, success]);
    expect(report.warnings.map((warning: { code: string }) => warning.code)).toContain('few-runs');
    expect(ran.stderr).toContain('warning: 3 runs of each mode say little: use --runs 6 or more\n');
  });

  it('prints a table, and warns of a program that fails', () => {
    const ran = bench('--runs', '2', '--warm-only', '--name', 'cat', '--', '/bin/cat', '/none');
    expect(ran.status).toBe(0);
    expect(ran.stdout).toMatch(/^\/bin\/cat \/none\n2 rounds, modes in random order in each\n\nwarm\n/);
    expect(ran.stdout).toMatch(/^plain +\S/m);
    expect(ran.stdout).toMatch(/^image +\S/m);
    expect(ran.stdout).toMatch(/^machine: /m);
    expect(ran.stderr).toContain('warning: the program failed in some warm runs (plain, image)');
  });

  it.skipIf(!process.env.CI && !mayDropCaches())('measures cold starts (needs root to drop caches)', () => {
    const ran = bench('--runs', '3', '--cold-only', '--json', '--', '/bin/cat', data);
    expect(ran.status, ran.stderr).toBe(0);
    const [cold, ...more] = JSON.parse(ran.stdout).sections;
    expect(more).toEqual([]);
    expect(cold).toMatchObject({
      temperature: 'cold',
      modes: [
        { name: 'plain', ...figures },
        { name: 'image', ...figures, speedup: ratio },
      ],
      cold: { method: 'drop-caches', workingSetBytes: 32 * 4096, residentBytes: expect.any(Number) },
    });
  });

  it.skipIf(!process.env.CI && !isThere('vmtouch'))('measures the peer too (needs vmtouch)', () => {
    const ran = bench('--runs', '3', '--warm-only', '--peer', 'vmtouch', '--json', '--', '/bin/cat', data);
    expect(ran.status, ran.stderr).toBe(0);
    const [{ modes }] = JSON.parse(ran.stdout).sections;
    expect(modes).toMatchObject([{ name: 'plain' }, { name: 'image' }, { name: 'vmtouch', speedup: ratio }]);
    expect(modes[2].samples[0].status).toEqual({ kind: 'exited', code: 0 });
  });
});

describe('what cannot be measured', () => {
  it.each<[string, readonly string[], number, string]>([
    ['a command without an image', ['--', '/bin/true'], 4, 'E_NO_IMAGE'],
    ['an image that is not there', ['--name', 'none', '--', '/bin/cat'], 4, 'E_NO_IMAGE'],
    ['a program that is not there', ['--', '/none/program'], 127, 'E_PROGRAM_NOT_FOUND'],
    ['a program that is not on PATH', ['--', 'no-such-program-here'], 127, 'E_PROGRAM_NOT_FOUND'],
    ['another peer', ['--peer', 'preload', '--', '/bin/cat', data], 2, 'E_USAGE'],
    ['neither warm nor cold', ['--warm-only', '--cold-only', '--', '/bin/cat', data], 2, 'E_USAGE'],
    ['no runs', ['--runs', '0', '--', '/bin/cat', data], 2, 'E_USAGE'],
    ['half a run', ['--runs', '1.5', '--', '/bin/cat', data], 2, 'E_USAGE'],
    ['no command', [], 2, 'E_USAGE'],
  ])('%s', (_what, words, status, code) => {
    const ran = bench(...words);
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([status, code, '']);
    expect(ran.stderr).not.toBe('');
  });

  const words = ['--runs', '1', '--warm-only', '--peer', 'vmtouch', '--', '/bin/cat', data];

  it('a peer that is not installed', () => {
    const bare = join(folder, 'bare');
    mkdirSync(bare);
    // Node, and what bin/winnow itself calls.
    symlinkSync(process.execPath, join(bare, 'node'));
    for (const tool of ['dirname', 'readlink', 'grep']) symlinkSync(join('/usr/bin', tool), join(bare, tool));
    const ran = winnow('bench', words, { env: { ...process.env, PATH: bare } });
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([3, 'E_NO_PEER', '']);
  });

  it('a peer whose files are not known, for the profile was dropped', () => {
    expect(winnow('profile drop', ['cat']).status).toBe(0);
    const ran = bench(...words);
    expect([ran.status, codeOf(ran), ran.stdout]).toEqual([4, 'E_NO_PROFILE', '']);
    expect(bench('--runs', '1', '--warm-only', '--', '/bin/cat', data).status).toBe(0);
  });
});
