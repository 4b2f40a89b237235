/** Programs of test/fixtures/share with their libraries, and their images. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type BuiltImage, both, RestoreScene, type StartOptions } from './restore-scene.ts';

const FIXTURES = join(import.meta.dirname, '..', 'fixtures', 'share');

export class FeaturesScene extends RestoreScene {
  /** Libraries that programs find by their run path, and those that they open. */
  readonly own = join(this.folder, 'own');

  constructor() {
    super();
    mkdirSync(this.own);
  }

  /** @param source name of a file of the fixtures. @returns the path of what was made. */
  make(name: string, source: string, ...flags: readonly string[]): string {
    const path = join(this.folder, name);
    const compiler = source.endsWith('.cc') ? 'g++' : 'gcc';
    execFileSync(compiler, ['-O1', '-g', '-pthread', '-o', path, join(FIXTURES, source), ...flags]);
    return path;
  }

  makeLibrary(name: string, source: string, ...flags: readonly string[]): string {
    const options = ['-shared', '-fPIC', `-Wl,-soname,${name}`, ...flags];
    return this.make(join('own', name), source, ...options);
  }

  makeProgram(name: string, source: string, ...flags: readonly string[]): string {
    return this.make(name, source, ...flags, `-Wl,-rpath,${this.own}`);
  }
}

/** Both starts print the same and end alike; ours came from the image. @returns what they printed. */
export function expectSameFromImage(
  image: BuiltImage,
  words: readonly string[] = [],
  options: StartOptions = {},
): string {
  const { plain, ours } = both(image, words, options);
  expect({ status: ours.status, stdout: ours.stdout }).toEqual({
    status: plain.status,
    stdout: plain.stdout,
  });
  expect(plain.base, plain.stderr).toBeDefined();
  expect(image.isFrom(ours), ours.stderr).toBe(true);
  return ours.stdout;
}
