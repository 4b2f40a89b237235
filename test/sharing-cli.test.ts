/** `winnow report --sharing` as a person runs it. Nothing is said about how fast anything was. */

import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { LinkedScene } from './support/linked-scene.ts';
import { codeOf, winnowOn } from './support/winnow.ts';

const scene = new LinkedScene();
afterAll(() => scene.remove());
const winnow = winnowOn(scene.path('store'));
const sharing = (...words: readonly string[]) => winnow('report', ['--sharing', ...words]);

describe('winnow report --sharing', () => {
  it('measures today’s system and computes the others', () => {
    const program = scene.make({ name: 'plain' });
    const ran = sharing('--json', '--', program);
    expect(ran.status, ran.stderr).toBe(0);
    const report = JSON.parse(ran.stdout);
    expect(report).toMatchObject({ winnow: 'sharing', version: 1, command: [program], rounds: 15 });
    const [today, bound] = report.rows;
    for (const row of [today, bound]) {
      expect(row.startMs).toEqual({ kind: 'measured', value: expect.any(Number) });
      // The loader writes to some pages of its own beyond what relocation does.
      const beyond = row.privatePages.value - report.figures.relocatedPages;
      expect(beyond).toBeGreaterThanOrEqual(0);
      expect(beyond).toBeLessThan(8);
    }
    expect(report.figures.modules).toHaveLength(5);
    interface Variant {
      readonly variant: string;
      readonly diskBytes: number;
      readonly copiedBytes: number;
      readonly executableBytes: number;
      readonly mappings: number;
      readonly startMs: number;
    }
    const variants: Variant[] = report.variants;
    expect(variants.map(({ variant }) => variant)).toEqual(['files', 'auto', 'joined', 'direct']);
    expect(variants.every(({ startMs }) => startMs > 0)).toBe(true);
    const rising = (of: (one: Variant) => number): void =>
      expect(variants.map(of)).toEqual(variants.map(of).toSorted((a, b) => a - b));
    rising(({ diskBytes }) => diskBytes);
    rising(({ copiedBytes }) => copiedBytes);
    rising(({ executableBytes }) => executableBytes);
    rising(({ mappings }) => -mappings);
    expect(variants.map(({ executableBytes }) => executableBytes > 0)).toEqual([false, false, true, true]);
  });

  it('measures prelinked libraries, and the image where there is one', () => {
    const program = scene.make({ name: 'image' });
    const rowsOf = (): Record<string, { startMs: { kind: string }; privatePages: { value: number } }> => {
      const ran = sharing('--json', '--', program);
      expect(ran.status, ran.stderr).toBe(0);
      const { rows } = JSON.parse(ran.stdout);
      return Object.fromEntries(rows.map((row: { id: string }) => [row.id, row]));
    };
    const without = rowsOf();
    expect(without['system 2']?.startMs.kind).toBe('measured');
    expect(without['system 5']?.startMs.kind).toBe('measured');
    expect(without['system 6']?.startMs.kind).toBe('missing');
    expect(winnow('record', ['--', program]).status).toBe(0);
    expect(winnow('build', ['--only', 'share', '--', program]).status).toBe(0);
    const image = winnow('report', ['--sharing', '--', program]).stdout.match(/^image: .*$/m)?.[0];
    expect(image).toMatch(
      /^image: (?:libraries are|.* small librar.* in it .*, the others are) mapped from their files$/,
    );
    const row = rowsOf()['system 6'];
    expect(row?.startMs.kind).toBe('measured');
    expect(row?.privatePages.value).toBeLessThan(without['system 1']?.privatePages.value ?? 0);
    expect(without['system 4']?.startMs.kind).toBe('missing');
    expect(winnow('record', ['--name', 'slid', '--', program]).status).toBe(0);
    expect(winnow('build', ['--only', 'share', '--slide', '--name', 'slid']).status).toBe(0);
    const both = rowsOf();
    expect(both['system 6']?.startMs.kind).toBe('measured');
    expect(both['system 4']?.startMs.kind).toBe('measured');
    expect(both['system 4']?.privatePages.value).toBeGreaterThan(both['system 6']?.privatePages.value ?? 0);
  });

  it('runs nothing of the program', () => {
    const proof = scene.path('proof');
    const source = scene.path('proof.c');
    writeFileSync(
      source,
      `#include <stdio.h>\n__attribute__((constructor)) void f(void) { fopen("${proof}", "w"); }\nint main(void) { f(); return 0; }\n`,
    );
    execFileSync('gcc', ['-o', scene.path('prover'), source]);
    expect(sharing('--', scene.path('prover')).status).toBe(0);
    expect(existsSync(proof)).toBe(false);
  });

  it('refuses static programs, programs without their libraries, and commands that are not there', () => {
    const path = scene.path('static');
    scene.compileStatic(path);
    expect(codeOf(sharing('--', path))).toBe('E_NOT_DYNAMIC');
    expect(codeOf(sharing('--', scene.path('nothing')))).toBe('E_PROGRAM_NOT_FOUND');
    expect(codeOf(sharing('no-such-profile'))).toBe('E_NO_PROFILE');
    const program = scene.make({ name: 'broken' });
    execFileSync('rm', [scene.path('broken', 'libone.so')]);
    expect(codeOf(sharing('--', program))).toBe('E_CLOSURE');
  });
});
