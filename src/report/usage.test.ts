import { chmodSync, copyFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { expectGolden } from '../../test/golden.ts';
import { gitProfile, gitRun } from '../../test/profile-samples.ts';
import { toJson } from '../cli/options.ts';
import { notAProfile } from '../profile/errors.ts';
import { identifyFile } from '../profile/identity.ts';
import { colorsFor } from '../term/color.ts';
import { type FileState, usageOf } from './usage.ts';
import { USAGE_JSON_VERSION, usageJson } from './usage-json.ts';
import { profileLines, renderProfiles, renderRuns, runLines } from './usage-profiles.ts';
import { fileState } from './usage-state.ts';
import { renderUsage } from './usage-text.ts';

const plain = colorsFor({ isTTY: false }, {});

/** libc has changed, the configuration is gone; one older run saw another git. */
function usage() {
  const states: Record<string, FileState> = {
    '/lib/x86_64-linux-gnu/libc.so.6': 'changed',
    '/etc/gitconfig': 'missing',
  };
  const older = gitRun(3);
  const files = older.files.map((file, index) =>
    index === 0 ? { ...file, identity: { ...file.identity, buildId: 'ab' } } : file,
  );
  const profile = { name: 'git-status', runs: [...gitProfile().runs, { ...older, files }] };
  return usageOf(profile, (path) => states[path] ?? 'same');
}

describe('the report', () => {
  it('tells file by file what was used', () => {
    expectGolden('report/git-status.txt', renderUsage(usage(), {}, plain));
  });

  it('shows processes and look-ups when asked', () => {
    expectGolden(
      'report/git-status-all.txt',
      renderUsage(usage(), { processes: true, lookups: true }, plain),
    );
  });

  it('is versioned JSON, with the long lists where they are asked for', () => {
    const json = (options: object) => toJson('usage', USAGE_JSON_VERSION, usageJson(usage(), options));
    expectGolden('report/git-status.json', json({ processes: true, lookups: true }));
    expect(Object.keys(JSON.parse(json({})))).toEqual([
      ...['winnow', 'version', 'name', 'command', 'method', 'runs', 'setAside', 'newestRun', 'oldestRun'],
      ...['totals', 'files', 'leftOut', 'notes'],
    ]);
  });

  it('adds up', () => {
    const { totals, files } = usage();
    expect(totals.pages).toBe(files.reduce((sum, file) => sum + file.pages, 0));
    expect(totals.pages).toBe(totals.mappedPages + totals.readPages);
  });

  it('says so when a profile has no runs', () => {
    expect(
      renderUsage(
        usageOf({ name: 'none', runs: [] }, () => 'same'),
        {},
        plain,
      ),
    ).toContain('none: no runs\n');
  });

  it('warns about what the method could not see, and obeys no escape sequences in names', () => {
    const run = gitRun(0, {
      method: { pages: 'fault-around', lookups: 'unseen', functions: 'unseen', kernel: '5.10' },
      command: { program: '/bin/x', argv: ['x', '\x1b[2J'], cwd: '/' },
    });
    const text = renderUsage(
      usageOf({ name: 'x', runs: [run] }, () => 'same'),
      {},
      plain,
    );
    expect(text).toContain('rounded up to 64 KiB by fault-around');
    expect(text).toContain('were not seen');
    expect(text).not.toContain('\x1b');
  });

  it('says nothing about a light run that is not counted', () => {
    const method = { pages: 'fault-around', lookups: 'unseen', functions: 'unseen', kernel: '6.18' } as const;
    const usage = usageOf({ name: 'x', runs: [gitRun(1, { method }), gitRun(0)] }, () => 'same');
    expect(usage).toMatchObject({ runs: 1, setAside: 1, method: gitRun(0).method });
    const text = renderUsage(usage, {}, plain);
    expect(text).toContain('Not counted: 1 run recorded less thoroughly.');
    expect(text).not.toMatch(/rounded up|were not seen/);
  });
});

describe('the list of profiles', () => {
  const listed = [
    { name: 'bad', path: '/s/profiles/bad.wnp', system: false, profile: notAProfile('/s/profiles/bad.wnp') },
    { name: 'git-status', path: '/s/profiles/git-status.wnp', system: true, profile: gitProfile() },
    { name: 'none', path: '/s/profiles/none.wnp', system: false, profile: { name: 'none', runs: [] } },
  ];

  it('has a line for each, also for one that cannot be read', () => {
    expectGolden('report/profiles.txt', renderProfiles(profileLines(listed)));
    expectGolden('report/profiles.json', toJson('profiles', 1, { profiles: profileLines(listed) }));
  });

  it('shows the runs of one', () => {
    expectGolden('report/runs.txt', renderRuns(gitProfile()));
    expectGolden('report/runs.json', toJson('runs', 1, { name: 'git-status', runs: runLines(gitProfile()) }));
  });
});

describe('fileState', () => {
  it('tells untouched, reinstalled, changed and missing files apart', () => {
    const folder = mkdtempSync(join(tmpdir(), 'winnow-state-'));
    try {
      const path = join(folder, 'f');
      writeFileSync(path, 'content');
      const recorded = identifyFile(path);
      const states = [fileState(path, recorded)];
      copyFileSync(path, `${path}.new`);
      renameSync(`${path}.new`, path);
      states.push(fileState(path, recorded));
      writeFileSync(path, 'CONTENT');
      states.push(fileState(path, recorded));
      rmSync(path);
      states.push(fileState(path, recorded), fileState(join(path, 'below'), recorded));
      chmodSync(folder, 0o700);
      states.push(fileState(folder, recorded));
      expect(states).toEqual(['same', 'same', 'changed', 'missing', 'missing', 'changed']);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
