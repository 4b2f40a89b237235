/** A folder of its own for a program with a library of its own, and a store for its image. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type Ran, winnowOn } from './winnow.ts';

export class OwnProgramScene {
  readonly folder: string;
  readonly store: string;
  readonly program: string;
  readonly other: string;
  /** In which the loader looks first, and which is empty. */
  readonly first: string;
  readonly libraries: string;
  readonly library: string;
  readonly env: NodeJS.ProcessEnv;

  /** @param kind a word for the folder's name. */
  constructor(kind: string) {
    // Not under /tmp: what lies there is temporary.
    this.folder = mkdtempSync(join(import.meta.dirname, '..', `.programs-${kind}-`));
    this.store = join(this.folder, 'store');
    this.program = join(this.folder, 'bin', 'main');
    this.other = join(this.folder, 'bin', 'other');
    this.first = join(this.folder, 'first');
    this.libraries = join(this.folder, 'lib');
    this.library = join(this.libraries, 'libown.so');
    this.env = { ...process.env, XDG_CACHE_HOME: join(this.folder, 'cache') };
    chmodSync(this.folder, 0o755);
    for (const name of ['bin', 'first', 'lib']) mkdirSync(join(this.folder, name));
    // Programs are mounted only where everybody can reach the loader that they name.
    for (const name of ['', 'images']) mkdirSync(join(this.store, name), { mode: 0o755 });
  }

  gcc(...words: readonly string[]): void {
    const done = spawnSync('gcc', ['-O1', ...words], { cwd: this.folder, encoding: 'utf8' });
    expect(done.stderr).toBe('');
  }

  readonly winnow = (command: string, ...words: readonly string[]): Ran =>
    winnowOn(this.store)(command, words, { cwd: this.folder, env: this.env });

  good(command: string, ...words: readonly string[]): Ran {
    const ran = this.winnow(command, ...words);
    expect(ran.status, ran.stderr).toBe(0);
    return ran;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
