/** A store with one profile and its image, of which every test gets a copy to damage. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openStore } from '../../src/profile/store.ts';
import { readTree } from '../../src/verify/tree.ts';
import { diskFolder, extent, profileOf, writePages } from '../launch-scene.ts';
import { winnowOn } from './winnow.ts';

/** Changes some bytes of a file in place. */
export function edit(path: string, change: (bytes: Buffer) => Buffer): void {
  writeFileSync(path, change(readFileSync(path)));
}

export const cutInHalf = (bytes: Buffer): Buffer => bytes.subarray(0, Math.floor(bytes.length / 2));

export const cutTo =
  (size: number) =>
  (bytes: Buffer): Buffer =>
    bytes.subarray(0, size);

/** Turns one bit of the byte at `at`, counted from the end where it is negative. */
export const flipBit =
  (at: number) =>
  (bytes: Buffer): Buffer => {
    const index = at < 0 ? bytes.length + at : at;
    bytes[index] = (bytes[index] ?? 0) ^ 0x10;
    return bytes;
  };

export class StoreScene {
  readonly folder = diskFolder();
  /** A copy of /bin/true: the profile `one` and the image `one` are of it, with the argument `x`. */
  readonly program = join(this.folder, 'program');
  readonly data = join(this.folder, 'data');
  readonly store = join(this.folder, 'store');
  /** An empty folder to be in. */
  readonly cwd = join(this.folder, 'cwd');
  readonly winnow = winnowOn(this.store);
  readonly #pristine = join(this.folder, 'pristine');

  constructor() {
    copyFileSync(realpathSync('/bin/true'), this.program);
    writePages(this.data, 64);
    const files = [this.program, this.data].map((path) => ({ path, extents: [extent(0, 5)] }));
    const [run] = profileOf({ program: this.program, argv: [this.program, 'x'], files }).runs;
    if (run === undefined) throw new Error('no run');
    openStore({ store: this.store }).addRun('one', run);
    const built = this.winnow('build', ['--name', 'one']);
    if (built.status !== 0) throw new Error(built.stderr);
    spawnSync('cp', ['-a', this.store, this.#pristine]);
    mkdirSync(this.cwd);
  }

  /** The store as it was made, and the program. */
  restore(): void {
    rmSync(this.store, { recursive: true, force: true });
    spawnSync('cp', ['-a', this.#pristine, this.store]);
    rmSync(this.program, { recursive: true, force: true });
    copyFileSync(realpathSync('/bin/true'), this.program);
  }

  path(...parts: readonly string[]): string {
    return join(this.store, ...parts);
  }

  get profileFile(): string {
    return this.path('profiles', 'one.wnp');
  }

  get image(): string {
    return this.path('images', 'one');
  }

  /** All that can be seen of the store: names, types, modes, owners, contents. */
  seen(): unknown {
    return [...readTree(this.store)].map(([path, entry]) => [path, ...entry.values()]);
  }

  drop(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
