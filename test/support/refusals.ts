/** Cases of bad input: a command line, its exit code, its error, and a store that stays as it was. */
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { StoreScene } from './store-scene.ts';
import { codeOf, type Ran } from './winnow.ts';

/** A command line behind whose command `--store STORE` is put. */
export interface Line {
  readonly command: string;
  readonly words: readonly string[];
}

export const line = (command: string, ...words: readonly string[]): Line => ({ command, words });

/** A line, its exit code and its error. */
export type Case = readonly [Line, number, string];

export const all = (lines: readonly Line[], status: number, code: string): Case[] =>
  lines.map((at) => [at, status, code]);

/** Runs lines in a folder of their own, in which nothing may be left. */
export const runnerIn =
  (scene: StoreScene) =>
  ({ command, words }: Line): Ran =>
    scene.winnow(command, words, { cwd: scene.cwd });

/** One error with advice on stderr, nothing on stdout. */
export function expectRefusal(ran: Ran, status: number, code: string): void {
  expect(ran.signal, 'it hangs').toBe(null);
  expect({ status: ran.status, code: codeOf(ran), stdout: ran.stdout }, ran.stderr).toEqual({
    status,
    code,
    stdout: '',
  });
  expect(ran.stderr).toMatch(/^ {2}next: {2}\S/m);
  expect(ran.stderr.match(/^winnow: E_/gm)).toHaveLength(1);
}

/** What a case is called: the folders of a test run are left out. */
export const titled = (scene: StoreScene, cases: readonly Case[]) =>
  cases.map(([at, status, code]) => {
    const words = ['winnow', at.command, ...at.words].join(' ').replaceAll(scene.folder, '');
    return [words, status, code, at] as const;
  });

/** Registers a test for each case: it is refused as it says, and changes nothing. */
export const refuserIn =
  (scene: StoreScene) =>
  (cases: readonly Case[], damage: () => void = () => undefined): void => {
    if (cases.length === 0) return;
    it.each(titled(scene, cases))('%s: %i %s', (_title, status, code, at) => {
      damage();
      const before = scene.seen();
      expectRefusal(runnerIn(scene)(at), status, code);
      expect(scene.seen()).toEqual(before);
      expect(readdirSync(scene.cwd)).toEqual([]);
      expect(readdirSync(scene.folder)).not.toContain('bin');
    });
  };
