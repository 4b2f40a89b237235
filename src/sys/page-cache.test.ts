import { closeSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dropPages, residentPages } from './page-cache.ts';

describe('the page cache of a file', () => {
  let folder = '';
  // Not under /tmp, which may be in memory alone.
  beforeEach(() => {
    folder = mkdtempSync(join(import.meta.dirname, '.page-cache-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('can be dropped and seen', () => {
    const path = join(folder, 'file');
    writeFileSync(path, Buffer.alloc(64 * 1024, 1));
    const fd = openSync(path, 'r+');
    try {
      fsyncSync(fd);
      expect(residentPages(fd)).toEqual(Buffer.alloc(16, 1));
      expect(dropPages(fd)).toBeUndefined();
      expect(residentPages(fd)).toEqual(Buffer.alloc(16, 0));
      // Asking does not read it in.
      expect(residentPages(fd)).toEqual(Buffer.alloc(16, 0));
      readFileSync(path);
      expect(residentPages(fd)).toEqual(Buffer.alloc(16, 1));
    } finally {
      closeSync(fd);
    }
  });
});
