/** A program with a library, and its image: what the tests of runtime/restore.c start. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { readElf } from '../../src/elf/read.ts';
import { buildShare } from '../../src/share/build.ts';
import { decodeLinked } from '../../src/share/linked/linked-decode.ts';
import { encodeLinked } from '../../src/share/linked/linked-encode.ts';
import type { PlacedImage } from '../../src/share/linked/linked-model.ts';
import { askRestore, readProcessor } from '../../src/share/linked/restore-answer.ts';
import type { ShareVariant } from '../../src/share/model.ts';
import { copyProgram } from '../../src/share/place/program-copy.ts';
import { runtimeFile } from '../../src/sys/runtime.ts';

const FIXTURES = join(import.meta.dirname, '..', 'fixtures');

export interface Started {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Where the loader was, of programs that say it (linked.c). */
  readonly base: number | undefined;
}

export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Words before the program: setarch, setpriv, prlimit … */
  readonly through?: readonly string[];
}

/** Runs a program; without options, in an environment of two variables. */
export function start(
  program: string,
  words: readonly string[],
  { env = {}, through = [] }: StartOptions = {},
): Started {
  const [command = program, ...rest] = [...through, program, ...words];
  const { status, stdout, stderr, error } = spawnSync(command, rest, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, SAMPLE: 'a value', ...env },
    timeout: 30_000,
    maxBuffer: 2 ** 26,
  });
  if (error !== undefined) throw error;
  const base = /^base ([0-9a-f]+)$/m.exec(stderr)?.[1];
  return { status, stdout, stderr, base: base === undefined ? undefined : Number.parseInt(base, 16) };
}

/** Programs of test/fixtures and their images, in a folder that others may look into. */
export class RestoreScene {
  readonly folder = mkdtempSync(join(tmpdir(), 'winnow-restore-'));
  readonly library = join(this.folder, 'lib', 'liblinked.so');
  /** Looked into before `lib`, and empty. */
  readonly before = join(this.folder, 'before');

  constructor() {
    chmodSync(this.folder, 0o755);
    for (const name of ['lib', 'before']) mkdirSync(join(this.folder, name));
    this.gcc(
      '-fPIC',
      '-shared',
      '-Wl,-soname,liblinked.so',
      '-o',
      this.library,
      join(FIXTURES, 'linked-library.c'),
    );
    this.resetTimes();
  }

  /** Times that can be set again: utimes knows no nanoseconds. */
  resetTimes(): void {
    const then = new Date('2020-01-01T00:00:00Z');
    for (const path of [this.library, this.before]) utimesSync(path, then, then);
  }

  /** The path of linked.c as a program, linked with further flags. */
  compile(name: string, ...flags: readonly string[]): string {
    const program = join(this.folder, name);
    const folders = `-Wl,-rpath,${this.before}:${join(this.folder, 'lib')}`;
    this.gcc(...flags, '-o', program, join(FIXTURES, 'linked.c'), this.library, folders);
    return program;
  }

  /** A library made of one of the fixtures. */
  compileLibrary(name: string, source: string, ...flags: readonly string[]): string {
    const path = join(this.folder, 'lib', name);
    this.gcc('-fPIC', '-shared', ...flags, `-Wl,-soname,${name}`, '-o', path, join(FIXTURES, source));
    return path;
  }

  /** A program made of one of the fixtures. */
  compileProgram(name: string, source: string, ...words: readonly string[]): string {
    const path = join(this.folder, name);
    this.gcc('-o', path, join(FIXTURES, source), ...words, `-Wl,-rpath,${join(this.folder, 'lib')}`);
    return path;
  }

  helper(name: string): string {
    const program = join(this.folder, name);
    this.gcc('-o', program, join(FIXTURES, `${name}.c`));
    return program;
  }

  private gcc(...words: readonly string[]): void {
    execFileSync('gcc', ['-O1', '-g', ...words]);
  }

  /** A copy of a program whose loader is restore without an image. */
  plainCopy(program: string, name: string): string {
    const path = join(this.folder, name);
    const restore = join(this.folder, 'restore');
    copyFileSync(runtimeFile('restore'), restore);
    chmodSync(restore, 0o755);
    const copy = copyProgram(readElf(readFileSync(program), program), restore);
    if (!Buffer.isBuffer(copy)) throw new Error(copy.reason);
    writeFileSync(path, copy, { mode: 0o755 });
    return path;
  }

  async build(
    program: string,
    variant: ShareVariant = 'files',
    {
      slides = false,
      pagesIn = false,
      libraryPath,
    }: { readonly slides?: boolean; readonly pagesIn?: boolean; readonly libraryPath?: string } = {},
  ): Promise<BuiltImage> {
    const folder = mkdtempSync(join(this.folder, 'image-'));
    chmodSync(folder, 0o755);
    const built = await buildShare(
      { programs: [{ path: program, ...(libraryPath === undefined ? {} : { libraryPath }) }], kept: [] },
      {
        folder,
        image: folder,
        restore: readFileSync(runtimeFile('restore')),
        processor: readProcessor(),
        mapped: [],
        sharedMode: 0o055,
        variant,
        slides,
        pagesIn,
      },
    );
    const [one] = built.programs;
    if (one === undefined) throw new Error(JSON.stringify(built.kept));
    return new BuiltImage(
      program,
      join(folder, one.copy),
      join(folder, one.linked),
      join(folder, one.restore),
    );
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class BuiltImage {
  readonly program: string;
  readonly copy: string;
  readonly linked: string;
  readonly restore: string;
  readonly bytes: Buffer;
  readonly image: PlacedImage;

  constructor(program: string, copy: string, linked: string, restore: string) {
    this.program = program;
    this.copy = copy;
    this.linked = linked;
    this.restore = restore;
    this.bytes = readFileSync(linked);
    this.image = decodeLinked(this.bytes, linked);
  }

  /** Whether the start was one from the image. */
  isFrom({ base }: Started): boolean {
    const { slide, base: lowest } = this.image;
    if (slide === undefined) return base === lowest;
    const units = base === undefined ? -1 : (base - lowest) / slide.rest.unit;
    return Number.isSafeInteger(units) && units >= 0 && units < slide.rest.places;
  }

  /** What restore answers, run by itself. */
  answer(): string {
    return askRestore(this.restore, this.linked, this.image.libraryPath).refused;
  }

  /** Runs `use` with other bytes in the place of the image, then puts them back. */
  with<Result>(bytes: Uint8Array, use: () => Result): Result {
    const { mode } = statSync(this.linked);
    try {
      writeFileSync(this.linked, bytes);
      return use();
    } finally {
      writeFileSync(this.linked, this.bytes);
      chmodSync(this.linked, mode);
    }
  }

  /** `with` the image changed so. */
  changed<Result>(change: Partial<PlacedImage>, use: () => Result): Result {
    return this.with(encodeLinked({ ...this.image, ...change }), use);
  }
}

/** The program plainly, and from its image, in the same circumstances. */
export function both(
  built: BuiltImage,
  words: readonly string[] = ['one', 'two words'],
  options: StartOptions = {},
) {
  return { plain: start(built.program, words, options), ours: start(built.copy, words, options) };
}

export function expectSame({ plain, ours }: { plain: Started; ours: Started }): void {
  expect({ status: ours.status, stdout: ours.stdout }).toEqual({
    status: plain.status,
    stdout: plain.stdout,
  });
}

export function expectLinked(built: BuiltImage, options: StartOptions = {}): void {
  const pair = both(built, undefined, options);
  expectSame(pair);
  expect(pair.plain.status).toBe(7);
  expect(built.isFrom(pair.ours)).toBe(true);
}

/** With what the kernel says of the process as in a plain start: under a filter it is not told what has moved. */
export const untold = (ran: Started): Started => ({
  ...ran,
  stdout: ran.stdout.replace(/auxv 0 code [01]/, 'auxv 1 code 1'),
});

export function expectLinkedUnderFilter(built: BuiltImage, through: readonly string[]): void {
  const { plain, ours } = both(built, undefined, { through });
  expectSame({ plain, ours: untold(ours) });
  expect(plain.status).toBe(7);
  expect(built.isFrom(ours)).toBe(true);
}

export function expectPlain(built: BuiltImage, options: StartOptions = {}): void {
  const pair = both(built, undefined, options);
  expectSame(pair);
  expect(pair.ours.base).toBeDefined();
  expect(built.isFrom(pair.ours)).toBe(false);
}
