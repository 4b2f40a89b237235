/** A temporary folder with programs and libraries, and the same ones rewritten. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Rva } from '../../src/base/brands.ts';
import { readElfFile } from '../../src/elf/read.ts';
import { analyseModule } from '../../src/rewrite/analyse.ts';
import type { ModuleAnalysis, RewriteOptions, RewrittenModule } from '../../src/rewrite/model.ts';
import { rewriteModule } from '../../src/rewrite/rewrite.ts';

export const FIXTURES = join(import.meta.dirname, '..', 'fixtures', 'rewrite');

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
