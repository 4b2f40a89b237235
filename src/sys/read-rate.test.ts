import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { dropPages, residentPages } from './page-cache.ts';
import { measureReads, parseReadRates } from './read-rate.ts';

// Not /tmp, which may be in memory.
const folder = mkdtempSync('/var/tmp/winnow-read-rate-');
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, bytes: number): string {
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  writeSync(fd, randomBytes(bytes));
  fsyncSync(fd);
  closeSync(fd);
  return path;
}

describe('what read-rate prints', () => {
  it('is fast from the rate on that is enough', () => {
    expect(parseReadRates('1200 0\n', 1200)).toEqual({ kind: 'fast' });
    const slow = { kind: 'slow', requestsPerSecond: 1199, bytesPerSecond: 7 };
    expect(parseReadRates('1199 7\n', 1200)).toEqual(slow);
  });

  it.each(['', '0 0\n', '500 0\n', 'x\n'])('is no answer: %j', (text) => {
    expect(parseReadRates(text, 1200)).toEqual({ kind: 'kept', reason: 'no-answer' });
  });
});

describe('measureReads', () => {
  it('knows every device that answers ten requests a second, or says why not', () => {
    const file = write('file', 4 << 20);
    expect(measureReads([file], 10).kind).toBe('fast');
    expect(measureReads([join(folder, 'none')], 10)).toEqual({ kind: 'kept', reason: 'no-direct-reads' });
    expect(measureReads([folder], 10)).toEqual({ kind: 'kept', reason: 'no-direct-reads' });
    expect(measureReads([write('small', 4096)], 1200)).toEqual({
      kind: 'kept',
      reason: 'too-little-to-read',
    });
    expect(measureReads([], 1200)).toEqual({ kind: 'kept', reason: 'too-little-to-read' });
  });

  it('neither brings pages into memory nor drops any', () => {
    const file = write('cache', 4 << 20);
    const fd = openSync(file, 'r');
    try {
      dropPages(fd);
      expect(residentPages(fd)).not.toContain(1);
      measureReads([file], 1200);
      expect(residentPages(fd)).not.toContain(1);
      // All of it.
      const warm = openSync(file, 'r+');
      writeSync(warm, randomBytes(4 << 20));
      closeSync(warm);
      measureReads([file], 1200);
      expect(residentPages(fd)).not.toContain(0);
    } finally {
      closeSync(fd);
    }
  });
});
