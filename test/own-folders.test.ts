/** No test writes into the folders of the user who runs it. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analysesDir } from '../src/cli/analyses.ts';
import { defaultStore } from '../src/profile/store.ts';
import { OWN_FOLDERS } from './support/own-folders.ts';
import { runWinnow } from './support/winnow.ts';

it('writes profiles, images and analyses to folders of the run, where a test names none', () => {
  const home = mkdtempSync(join(tmpdir(), 'winnow-home-'));
  try {
    const words = ['record', '--functions', '--name', 'own-folders', '--', '/bin/true'];
    const ran = runWinnow(words, { env: { ...process.env, HOME: home } });
    expect(ran).toMatchObject({ status: 0, stderr: expect.not.stringMatching(/\bE_/) });
    expect(readdirSync(home)).toEqual([]);
    expect(defaultStore()).toContain(OWN_FOLDERS);
    expect(analysesDir()).toContain(OWN_FOLDERS);
    expect(readdirSync(join(defaultStore(), 'profiles'))).toContain('own-folders.wnp');
    expect(readdirSync(analysesDir())).not.toEqual([]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
