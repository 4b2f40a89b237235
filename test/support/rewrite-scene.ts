/** A temporary folder with programs and libraries, and the same ones rewritten. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Rva } from '../../src/base/brands.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import { readElfFile } from '../../src/elf/read.ts';
import { analyseModule } from '../../src/rewrite/analyse.ts';
import type { ModuleAnalysis, RewriteOptions, RewrittenModule } from '../../src/rewrite/model.ts';
import { rewriteModule } from '../../src/rewrite/rewrite.ts';

export const FIXTURES = join(import.meta.dirname, '..', 'fixtures', 'rewrite');

/** Files of the fixture in several makes. */
export const FILES = ['lib.so', 'relr.so', 'main', 'fixed', 'stripped.so'] as const;
export type FixtureFile = (typeof FILES)[number];

/** A file before and after. */
export interface Change {
  readonly original: ElfImage;
  readonly changed: ElfImage;
  readonly module: RewrittenModule;
}

export interface Outcome {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface HowToRewrite {
  /** All units where nothing is said. */
  readonly hot?: (analysis: ModuleAnalysis) => readonly Rva[];
  readonly cold?: RewriteOptions['cold'];
}

export class RewriteScene {
  readonly folder: string;
  readonly #changes = new Map<FixtureFile, Change>();

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'winnow-rewrite-'));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Compiles in the folder; sources are files of the fixture. */
  compile(compiler: string, ...args: readonly string[]): void {
    const words = args.map((arg) => (/^[a-z]+\.c$/.test(arg) ? join(FIXTURES, arg) : arg));
    execFileSync(compiler, words, { cwd: this.folder, stdio: 'pipe' });
  }

  /** Rewrites a file of the folder into another one of it. */
  rewrite(from: string, to: string, how: HowToRewrite = {}): RewrittenModule {
    const rewritten = rewriteFile(this.path(from), how);
    writeFileSync(this.path(to), rewritten.bytes);
    chmodSync(this.path(to), 0o755);
    return rewritten;
  }

  /** Makes files of the fixture, and rewrites each with all its code copied: `lib.so` to `lib.so.new`. */
  makeFixture(): void {
    const against = [`-L${this.folder}`, '-l:lib.so', '-Wl,-rpath,$ORIGIN'];
    const library = ['-O2', '-shared', '-fPIC', '-Wl,-z,lazy', 'lib.c'];
    this.compile('gcc', ...library, '-o', 'lib.so');
    this.compile('gcc', ...library, '-s', '-o', 'stripped.so');
    this.compile('gcc', ...library, '-Wl,-z,pack-relative-relocs', '-o', 'relr.so');
    this.compile('gcc', '-O2', '-o', 'main', 'main.c', ...against);
    this.compile('gcc', '-O2', '-no-pie', '-fno-pie', '-o', 'fixed', 'main.c', ...against);
    const change = (file: FixtureFile): Change => {
      const module = this.rewrite(file, `${file}.new`);
      const changed = readElfFile(this.path(`${file}.new`));
      return { original: readElfFile(this.path(file)), changed, module };
    };
    for (const file of FILES) this.#changes.set(file, change(file));
  }

  /** What `makeFixture` made of a file. */
  changeOf(file: FixtureFile): Change {
    const change = this.#changes.get(file);
    if (change === undefined) throw new Error(`${file} was not made`);
    return change;
  }

  run(program: string, ...args: readonly string[]): Outcome {
    const done = spawnSync(this.path(program), args, { encoding: 'utf8', timeout: 60_000 });
    const { status, signal, stdout, stderr } = done;
    return { status, signal, stdout, stderr };
  }
}

export function analysed(path: string): ModuleAnalysis {
  const analysis = analyseModule(readElfFile(path));
  if ('kind' in analysis) throw new Error(`${path}: ${analysis.reason}`);
  return analysis;
}

export const allUnits = ({ units }: ModuleAnalysis): Rva[] => units.map(({ start }) => start);

export function rewriteFile(
  path: string,
  { hot = allUnits, cold = 'file' }: HowToRewrite = {},
): RewrittenModule {
  const analysis = analysed(path);
  const result = rewriteModule(readElfFile(path), analysis, { hot: hot(analysis), cold });
  if (result.kind === 'kept') throw new Error(`${path}: ${result.reason}`);
  return result;
}

export const toldBy = (command: string, ...args: readonly string[]): string => {
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  return stderr + stdout;
};
