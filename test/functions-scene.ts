/** Recordings with --functions: names of what was entered, from the symbols of the files. */
import { spawnSync } from 'node:child_process';
import { expect } from 'vitest';
import { readElfFile } from '../src/elf/read.ts';
import type { Run } from '../src/profile/model.ts';
import { type HowToRecord, type Result, Scene, type Started } from './record-scene.ts';

/** Functions that nothing inlines, clones or merges; each one has a symbol. */
export const F = '__attribute__((noinline, noclone, noipa))';

/** With a cache of analyses of its own. */
export class FunctionsScene extends Scene {
  functions(command: readonly string[], how: HowToRecord = {}): Result {
    const result = this.record(command, this.#with(how));
    expect(result.stderr).not.toMatch(/\bE_/);
    return result;
  }

  /** Runs a program alone and recorded: output and end must be the same. Returns the run. */
  sameRun(command: readonly string[]): Run {
    const alone = spawnSync(command[0] ?? '', command.slice(1), { cwd: this.folder, encoding: 'utf8' });
    const { run, stdout, status, signal } = this.functions(command);
    expect({ stdout, status, signal }).toEqual({
      stdout: alone.stdout,
      status: alone.status,
      signal: alone.signal,
    });
    return run;
  }

  startFunctions(command: readonly string[], how: HowToRecord = {}): Started {
    return this.start(command, this.#with(how));
  }

  #with(how: HowToRecord): HowToRecord {
    return {
      ...how,
      options: ['--functions', ...(how.options ?? [])],
      env: { ...(how.env ?? process.env), XDG_CACHE_HOME: this.path('cache') },
    };
  }
}

/** The names of `wanted` that were entered in a file, in their order. */
export function enteredNames(run: Run, path: string, wanted: RegExp): string[] {
  expect(run.method.functions).toBe('seen');
  const names = new Map<number, string>();
  for (const { name, rva } of readElfFile(path).staticSymbols) {
    if (rva !== undefined && wanted.test(name)) names.set(rva, name);
  }
  const file = run.files.findIndex((used) => used.path === path);
  const entries = run.entered.find((code) => code.file === file)?.entries ?? [];
  return entries.flatMap((entry) => names.get(entry) ?? []);
}
