import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { identifyFile, sameContent, sameFile } from './identity.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-identity-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

describe('identifyFile', () => {
  it('knows a copy by its hash, and a change by its size, time or hash', () => {
    writeFileSync(at('a'), 'content');
    const original = identifyFile(at('a'));
    expect(original.hash).toBe('sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73');
    copyFileSync(at('a'), at('b'));
    const copy = identifyFile(at('b'));
    expect([sameFile(original, copy), sameContent(original, copy)]).toEqual([false, true]);
    writeFileSync(at('a'), 'CONTENT');
    const changed = identifyFile(at('a'));
    expect([sameFile(original, changed), sameContent(original, changed)]).toEqual([false, false]);
  });

  it('hashes the ends of what is larger than 4 MiB', () => {
    writeFileSync(at('big'), 'head');
    truncateSync(at('big'), 5 * 1024 * 1024);
    const original = identifyFile(at('big'));
    expect(original.hash).toMatch(/^sha256-ends:[0-9a-f]{64}$/);
    utimesSync(at('big'), 1, 1);
    expect(sameContent(original, identifyFile(at('big')))).toBe(true);
    appendFileSync(at('big'), 'tail');
    expect(sameContent(original, identifyFile(at('big')))).toBe(false);
  });

  it('uses the build-id of an ELF file, as long as the size is the same', () => {
    const node = identifyFile(process.execPath);
    const buildId = execFileSync('readelf', ['-n', process.execPath], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const expected = /Build ID: ([0-9a-f]+)/.exec(buildId)?.[1];
    expect(node.buildId).toBe(expected);
    expect(node.hash === undefined).toBe(expected !== undefined);
    const moved = { ...node, inode: 1n, mtimeNs: 2n };
    expect([sameContent(node, moved), sameContent(node, { ...moved, size: 1 })]).toEqual([true, false]);
  });

  it('keeps nanoseconds', () => {
    execFileSync('touch', ['-d', '@1700000000.123456789', at('a')]);
    expect(identifyFile(at('a')).mtimeNs).toBe(1_700_000_000_123_456_789n);
  });

  it('refuses folders and does not wait for pipes', () => {
    execFileSync('mkfifo', [at('pipe')]);
    for (const path of [folder, at('pipe'), '/dev/null']) {
      expect(() => identifyFile(path)).toThrow(expect.objectContaining({ code: 'E_NOT_A_FILE' }));
    }
    expect(() => identifyFile(at('missing'))).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
