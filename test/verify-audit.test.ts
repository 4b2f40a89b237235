/**
 * Real programs with rewritten modules, shown by the audit object: trees of processes above all, whose children get
 * the modules through libc's execve. Takes a while: each is recorded, rewritten, and run several times.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAMS } from './programs.ts';
import { isThere } from './support/files.ts';
import { expectSameFromImage } from './support/real-program.ts';

/** Scripts, shells, vfork, posix_spawn, pipes, threads, plugins, what a program sees of itself, static children. */
const NAMES = [
  'gcc and run',
  'python3 numpy',
  'python3 subprocess',
  'bash pipelines',
  'a script with #!',
  'make',
  'a static program',
  'a program that prints what it was given',
  '/proc/self/fd',
  'forks',
  'dlopen',
];
const chosen = process.env.ALL_PROGRAMS ? PROGRAMS : PROGRAMS.filter(({ name }) => NAMES.includes(name));

let root = '';
beforeAll(() => {
  root = mkdtempSync(join(import.meta.dirname, '.programs-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('shown by the audit object, a real program behaves as before', () => {
  it('is tried on programs that are there', () => {
    expect(chosen.length).toBeGreaterThanOrEqual(NAMES.length);
  });

  for (const [index, program] of chosen.entries()) {
    const missing = program.needs.filter((need) => !isThere(need));
    it.skipIf(!process.env.CI && missing.length > 0)(`${program.name}: ${program.kind}`, () => {
      expect(missing).toEqual([]);
      const how = { record: ['--functions'], build: ['--show', 'audit'] };
      expectSameFromImage(program, { root, name: `program-${index}`, ...how });
    });
  }
});
