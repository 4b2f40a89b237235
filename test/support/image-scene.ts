/** A store of images on a disk, built from profiles that were made by hand. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type BuiltImage, buildImage } from '../../src/image/build.ts';
import type { Profile } from '../../src/profile/model.ts';
import { diskFolder, extent, profileOf } from '../launch-scene.ts';

export class ImageScene {
  readonly folder = diskFolder();
  readonly imagesDir = join(this.folder, 'store', 'images');
  readonly program = '/bin/true';
  /** What the images fetch. */
  readonly data = join(this.folder, 'data');

  constructor() {
    writeFileSync(this.data, Buffer.alloc(40_960, 1));
  }

  profile(name: string, argv: readonly string[] = ['true', 'a'], count = 5): Profile {
    const files = [{ path: this.data, extents: [extent(1, count)] }];
    return profileOf({ name, program: this.program, argv, files });
  }

  build(name: string, argv?: readonly string[], count?: number): BuiltImage {
    return buildImage(this.profile(name, argv, count), { imagesDir: this.imagesDir, gapPages: 0 });
  }

  /** What is in the folder of images beside the lock. */
  entries(): string[] {
    return readdirSync(this.imagesDir).filter((name) => name !== '.lock');
  }

  /** Removes all images. */
  clear(): void {
    rmSync(join(this.folder, 'store'), { recursive: true, force: true });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** An error with this code. */
export const errorOf = (code: string): unknown => expect.objectContaining({ code });
