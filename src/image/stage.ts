/**
 * A place beside the images for what takes long to make: rewritten modules. It is locked while its maker lives,
 * so that other builds tell it from what a killed one left, and nobody waits for the lock on all images meanwhile.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { tryLock } from '../sys/flock.ts';
import { goesWithUs } from '../sys/temporary.ts';

const LOCK = 'lock';

export interface Stage {
  /** Name of the folder that the image will have. */
  readonly version: string;
  /** A folder for them, empty at first; becomes the image's own. */
  readonly modules: string;
  /** Removes the stage, and what is still in it. */
  close(): void;
}

/** A free name for the folder of an image: `.NAME@hex`. */
export const newVersion = (name: string): string => `.${name}@${randomBytes(6).toString('hex')}`;

/**
 * Needs the lock on the images: until the stage is locked itself, others would take it for one that was left.
 * @throws what mkdir and open throw
 */
export function openStage(imagesDir: string, name: string): Stage {
  const version = newVersion(name);
  const path = join(imagesDir, `${version}.stage`);
  const modules = join(path, 'modules');
  const scratch = goesWithUs(path, join(imagesDir, `${version}.tmp`));
  mkdirSync(path, { mode: 0o700 });
  const lock = openSync(join(path, LOCK), constants.O_RDWR | constants.O_CREAT, 0o600);
  tryLock(lock);
  const close = (): void => {
    scratch.close();
    closeSync(lock);
  };
  try {
    mkdirSync(modules, { mode: 0o700 });
  } catch (error) {
    close();
    throw error;
  }
  return { version, modules, close };
}

/** Whether the maker of the stage at `path` is gone. Needs the lock on the images. */
export function isAbandoned(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(join(path, LOCK), constants.O_RDWR | constants.O_NOFOLLOW);
  } catch (error) {
    // Killed before it made its lock.
    if (errnoOf(error) === 'ENOENT') return true;
    throw error;
  }
  try {
    return tryLock(fd);
  } finally {
    closeSync(fd);
  }
}
