import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { gitProfile, gitRun } from '../../../test/profile-samples.ts';
import { decodeProfile } from '../../profile/codec.ts';
import { openStore } from '../../profile/store.ts';
import { registerProfile } from './profile.ts';
import { registerReport } from './report.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-cli-'));
const dir = join(folder, 'store');
const typed = process.argv;
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => {
  process.argv = typed;
  vi.restoreAllMocks();
});

/** Runs `winnow WORDS --store DIR`; what it printed, stdout and stderr apart. */
async function winnow(...words: string[]): Promise<{ out: string; err: string }> {
  let out = '';
  let err = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += text instanceof Uint8Array ? Buffer.from(text).toString('latin1') : text;
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += String(text);
    return true;
  });
  const dashes = words.indexOf('--');
  const at = dashes < 0 ? words.length : dashes;
  process.argv = ['node', 'winnow', ...words.slice(0, at), '--store', dir, ...words.slice(at)];
  const program = new Command('winnow').enablePositionalOptions().exitOverride();
  registerReport(program);
  registerProfile(program);
  await program.parseAsync(process.argv);
  return { out, err };
}

const code = (name: string) => expect.objectContaining({ code: name });

describe('winnow report and winnow profile', () => {
  it('say what to do when nothing is there', async () => {
    expect(await winnow('profile', 'list')).toEqual({
      out: '',
      err: expect.stringContaining('winnow record'),
    });
    expect(JSON.parse((await winnow('profile', 'list', '--json')).out)).toMatchObject({ profiles: [] });
    await expect(winnow('report')).rejects.toThrow(code('E_NO_PROFILE'));
  });

  it('show a profile by name, by command, or the newest', async () => {
    const store = openStore({ store: dir });
    for (const run of gitProfile().runs) store.addRun('git-status', run);
    const sh = { program: '/bin/sh', argv: ['sh', '-c', 'exit'], cwd: '/' };
    store.addRun('sh-c-exit', gitRun(0, { command: sh, startedAt: 1 }));
    expect((await winnow('report')).out).toMatch(/^git-status: git status\n3 runs/);
    expect((await winnow('report', 'sh-c-exit')).out).toMatch(/^sh-c-exit: sh -c exit\n1 run,/);
    expect((await winnow('report', '--', '/bin/sh', '-c', 'exit')).out).toMatch(/^sh-c-exit:/);
    expect((await winnow('report', '--processes', '--lookups')).out).toContain('git pager');
    const json = JSON.parse((await winnow('report', '--json')).out);
    expect(json).toMatchObject({ winnow: 'usage', version: 1, runs: 3, totals: { files: 3 } });
    expect((await winnow('profile', 'list')).out.split('\n').length).toBe(4);
    expect((await winnow('profile', 'show', 'git-status')).out.split('\n').length).toBe(7);
    expect(JSON.parse((await winnow('profile', 'show', 'git-status', '--json')).out).runs.length).toBe(3);
  });

  it('refuse what makes no sense', async () => {
    await expect(winnow('report', 'a', 'b')).rejects.toThrow(code('E_USAGE'));
    await expect(winnow('report', 'a', '--', 'b')).rejects.toThrow(code('E_USAGE'));
    await expect(winnow('report', '--')).rejects.toThrow(code('E_USAGE'));
    await expect(winnow('report', '--', '/bin/sh', '-c', 'true')).rejects.toThrow(code('E_NO_PROFILE'));
    await expect(winnow('report', '--', './no/such')).rejects.toThrow(code('E_PROGRAM_NOT_FOUND'));
    await expect(winnow('report', 'git-statsu')).rejects.toThrow(code('E_NO_PROFILE'));
  });

  it('merge, export, import and drop', async () => {
    const file = join(folder, 'x.wnp');
    expect((await winnow('profile', 'export', 'git-status', file)).out).toBe('');
    expect(decodeProfile(readFileSync(file), file)).toEqual(gitProfile());
    const { out } = await winnow('profile', 'export', 'git-status', '-');
    expect(Buffer.from(out, 'latin1')).toEqual(readFileSync(file));
    expect((await winnow('profile', 'import', file, '--name', 'copy')).err).toContain('copy has 3 runs');
    expect((await winnow('profile', 'merge', 'all', 'copy', 'sh-c-exit')).err).toContain('all has 3 runs');
    await winnow('profile', 'drop', 'copy', 'all');
    expect(
      openStore({ store: dir })
        .list()
        .map(({ name }) => name),
    ).toEqual(['git-status', 'sh-c-exit']);
    await expect(winnow('profile', 'drop', 'copy')).rejects.toThrow(code('E_NO_PROFILE'));
  });
});
