/** Which programs of a profile are tried, and what is told of those that are not. */
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { profileOf } from '../../test/launch-scene.ts';
import type { ShareFigures } from './built.ts';
import { countNames, explainShare } from './explain.ts';
import { programsOf } from './observe.ts';
import { planShare } from './plan.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-share-plan-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function profile(program: string, others: readonly string[]) {
  const made = profileOf({ name: 'p', program, argv: ['p'], files: [] });
  const ended = { kind: 'exited', code: 0 } as const;
  const processes = [program, ...others].map((path) => ({
    program: path,
    argvShape: ['p'],
    ended,
    pages: [],
  }));
  return { ...made, runs: made.runs.map((run) => ({ ...run, processes })) };
}

describe('the plan', () => {
  const script = join(folder, 'script');
  const link = join(folder, 'link');
  writeFileSync(script, '#!/bin/sh\n');
  chmodSync(script, 0o755);
  symlinkSync('/usr/bin/env', link);

  it('has each program once, the command’s own first, links followed', () => {
    expect(programsOf(profile(link, ['/usr/bin/env', '/usr/bin/cat', '/usr/bin/cat']))).toEqual([
      { path: '/usr/bin/env' },
      { path: '/usr/bin/cat' },
    ]);
  });

  it('has the LD_LIBRARY_PATH of most starts in the newest run that has the program', () => {
    const started = (libraryPath: string | undefined, program = '/usr/bin/cat') => ({
      program,
      argvShape: ['p'],
      ...(libraryPath === undefined ? {} : { libraryPath }),
      ended: { kind: 'exited', code: 0 } as const,
      pages: [],
    });
    const made = profile('/usr/bin/env', []);
    const [run] = made.runs;
    if (run === undefined) throw new Error('a profile without runs');
    const older = [started('/old'), started('/old'), started('/gone', '/usr/bin/sort')];
    const newer = [started(undefined), started('/a'), started(''), started('/a'), started('/b')];
    const both = { ...made, runs: [newer, older].map((processes) => ({ ...run, processes })) };
    expect(programsOf(both)).toEqual([
      { path: '/usr/bin/env' },
      { path: '/usr/bin/cat', libraryPath: '/a' },
      { path: '/usr/bin/sort', libraryPath: '/gone' },
    ]);
    const even = { ...made, runs: [{ ...run, processes: [started(undefined), started('')] }] };
    expect(programsOf(even)).toEqual([{ path: '/usr/bin/env' }, { path: '/usr/bin/cat' }]);
  });

  it('leaves scripts to their interpreters, and tells what is gone', () => {
    const none = join(folder, 'none');
    expect(planShare(profile(script, ['/usr/bin/env', none]))).toEqual({
      programs: [{ path: '/usr/bin/env' }],
      kept: [{ path: none, reason: 'not there any more' }],
    });
  });
});

describe('the explanation', () => {
  it('sums up, and counts reasons with an example', () => {
    const figures: ShareFigures = {
      modules: 3,
      maps: 15,
      loaderMaps: 16,
      pages: 30,
      linkedPages: 20,
      pointers: 1000,
      watches: 2,
      bytes: 4096,
      fixUps: [],
      leftovers: [],
    };
    const kept = [
      { path: '/a', reason: 'musl' },
      { path: '/b', reason: 'not dynamically linked' },
      { path: '/c', reason: 'not dynamically linked', detail: 'more' },
    ];
    const programs = ['/x', '/y'].map((path) => ({ path, figures, asksForItself: undefined }));
    const explained = explainShare({ programs, kept });
    expect(explained.totals).toEqual({ programs: 2, pages: 60, bytes: 8192 });
    expect(explained.kept).toEqual([
      { reason: 'not dynamically linked', programs: 2, example: '/b' },
      { reason: 'musl', programs: 1, example: '/a' },
    ]);
  });

  it('counts names, most first', () => {
    expect(countNames(['b', 'a', 'b', 'c', 'a', 'b'])).toEqual([
      { name: 'b', count: 3 },
      { name: 'a', count: 2 },
      { name: 'c', count: 1 },
    ]);
  });
});
