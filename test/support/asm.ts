/** Small libraries and programs from assembly or C, in a folder that the test removes. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ElfImage } from '../../src/elf/image.ts';
import { readElfFile } from '../../src/elf/read.ts';
import type { ModuleAnalysis, Unit } from '../../src/rewrite/model.ts';

export class Workshop {
  readonly folder = mkdtempSync(join(tmpdir(), 'winnow-asm-'));
  #made = 0;

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  /** Compiles and links; a shared library without start-up files, unless `options` say otherwise. */
  build(source: string, extension: 's' | 'c' | 'cc', options: readonly string[] = BARE_LIBRARY): string {
    const name = join(this.folder, `made-${this.#made++}`);
    writeFileSync(`${name}.${extension}`, `${source}\n`);
    const compiler = extension === 'cc' ? 'g++' : 'gcc';
    execFileSync(compiler, ['-o', name, `${name}.${extension}`, ...options], { stdio: 'pipe' });
    return name;
  }

  library(assembly: string, options?: readonly string[]): ElfImage {
    return readElfFile(this.build(assembly, 's', options));
  }
}

/** Its own symbols are bound at once, so that assembly may name them without a PLT. */
export const BARE_LIBRARY: readonly string[] = [
  ...['-shared', '-nostdlib', '-Wl,-Bsymbolic', '-Wl,--build-id=none'],
];

/** A function with an FDE around `body`. */
export const fdeFunction = (name: string, body: string): string =>
  `.globl ${name}\n.type ${name}, @function\n${name}:\n.cfi_startproc\n${body}\n.cfi_endproc\n.size ${name}, . - ${name}\n`;

/** Where a dynamic symbol stands. */
export function addressOf(image: ElfImage, name: string): number {
  const found = [...image.symbols, ...image.staticSymbols].find((symbol) => symbol.name === name);
  if (found?.rva === undefined) throw new Error(`no symbol ${name}`);
  return found.rva;
}

/** The unit that holds a symbol. */
export function unitOfSymbol(image: ElfImage, analysis: ModuleAnalysis, name: string): Unit {
  const at = addressOf(image, name);
  const found = analysis.units.find(({ start, end }) => at >= start && at < end);
  if (found === undefined) throw new Error(`no unit at ${name}`);
  return found;
}
