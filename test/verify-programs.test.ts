/** Record, build, verify over real programs, through the command line as a person would. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAMS } from './programs.ts';
import { isThere } from './support/files.ts';
import { expectSameFromImage } from './support/real-program.ts';

let root = '';
beforeAll(() => {
  // Not under /tmp: what lies there is temporary, and temporary files are left out of a profile.
  root = mkdtempSync(join(import.meta.dirname, '.programs-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('the image of a real program behaves like the program', () => {
  it('is tried on programs of many kinds', () => {
    expect(PROGRAMS.length).toBeGreaterThanOrEqual(25);
    expect(new Set(PROGRAMS.map((program) => program.name)).size).toBe(PROGRAMS.length);
  });

  for (const [index, program] of PROGRAMS.entries()) {
    const missing = program.needs.filter((need) => !isThere(need));
    const needs = missing.length === 0 ? '' : ` (needs ${missing.join(', ')})`;
    it.skipIf(!process.env.CI && missing.length > 0)(`${program.name}: ${program.kind}${needs}`, () => {
      expect(missing).toEqual([]);
      expectSameFromImage(program, { root, name: `program-${index}` });
    });
  }
});
