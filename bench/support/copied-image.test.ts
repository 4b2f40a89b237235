/** Whether a start shows the modules of its image is seen, so that an image that shows none passes for no result. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { CopiedImage } from './copied-image.ts';

// Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
const folder = mkdtempSync(join(import.meta.dirname, '.programs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('counts the modules that a start has mapped, and takes none for a fault', { timeout: 120_000 }, () => {
  const ownMap = ['/bin/sh', '-c', 'cat /proc/$$/maps; true'];
  const image = new CopiedImage('sh', folder, ownMap);
  image.record();
  expect(image.build('file').modules.length).toBeGreaterThan(1);
  // The shell and the C library.
  expect(image.countShown(ownMap)).toBe(2);
  writeFileSync(join(folder, 'store', 'images', 'sh', 'modules.bin'), '');
  expect(() => image.countShown(ownMap)).toThrow('shows no module of the image');
});
