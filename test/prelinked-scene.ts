/** A program with a library of its own and its image with prelinked libraries. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OwnProgramScene } from './support/own-program-scene.ts';
import type { Ran } from './support/winnow.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures', 'share');
const NAME = 'one';

export interface Started {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class PrelinkedScene extends OwnProgramScene {
  /** At a fixed address. */
  readonly fixed = join(this.folder, 'bin', 'fixed');
  readonly script = join(this.folder, 'bin', 'script');
  /** With a link to the program, for the first lines of scripts: they end at a space, which `folder` may have. */
  readonly shortFolder = mkdtempSync(join(tmpdir(), 'winnow-'));
  constructor() {
    super('prelinked');
    this.compileLibrary();
    const linking = ['-Llib', '-lown', '-lm', `-Wl,-rpath,${this.first}:${this.libraries}`, '-pthread'];
    const main = join(FIXTURES, 'prelinked.c');
    // The other one is the same for other libraries: it is not recorded.
    for (const path of [this.program, this.other]) this.gcc('-o', path, main, ...linking);
    this.gcc('-no-pie', '-fno-pie', '-o', this.fixed, main, ...linking);
    symlinkSync(this.program, join(this.shortFolder, 'main'));
    writeFileSync(this.script, `#!${this.shortFolder}/main say\n`, { mode: 0o755 });
  }

  compileLibrary(...flags: readonly string[]): void {
    this.gcc('-shared', '-fPIC', ...flags, '-o', this.library, join(FIXTURES, 'prelinked-library.c'));
  }

  record(program = this.program, ...words: readonly string[]): void {
    this.good('record', '-q', '--name', NAME, '--', program, ...words);
  }

  build(...words: readonly string[]): Ran {
    return this.good('build', '--name', NAME, '--only', 'share', '--share', 'prelink', ...words);
  }

  get image(): string {
    return join(this.store, 'images', NAME);
  }

  /** The folder that the link leads to. */
  get files(): string {
    return realpathSync(this.image);
  }

  /** Starts the image's launcher, as an installed command would be; in front of it what `before` says. */
  start(
    words: readonly string[],
    {
      env = {},
      before = [],
      argv0 = 'main',
    }: {
      readonly env?: NodeJS.ProcessEnv;
      readonly before?: readonly string[];
      readonly argv0?: string;
    } = {},
  ): Started {
    const launch = join(this.image, 'launch');
    const [file = launch, ...rest] = [...before, launch, ...words];
    const { status, signal, stdout, stderr } = spawnSync(file, rest, {
      ...(before.length === 0 ? { argv0 } : {}),
      encoding: 'utf8',
      env: { ...this.env, ...env },
      cwd: this.folder,
    });
    return { status, signal, stdout, stderr };
  }

  override remove(): void {
    super.remove();
    rmSync(this.shortFolder, { recursive: true, force: true });
  }
}
