/**
 * Golden files: what a text was when a person last looked at it.
 *
 * `WINNOW_UPDATE_GOLDEN=1` writes them anew; a missing one is a failure otherwise, so that a forgotten
 * file does not pass.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';

/** Expects `text` to be what test/golden/NAME holds. */
export function expectGolden(name: string, text: string): void {
  const path = join(import.meta.dirname, 'golden', name);
  if (process.env.WINNOW_UPDATE_GOLDEN !== undefined) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  expect(text).toBe(readFileSync(path, 'utf8'));
}
