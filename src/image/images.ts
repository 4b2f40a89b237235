/**
 * The images of a store: list, show, find, drop.
 *
 *     images/NAME            symbolic link to the folder that counts; replaced by rename, so a launcher that
 *                            starts meanwhile finds the old image or the new one, whole
 *     images/.NAME@hex/      an image; once another has taken its place it stays some seconds for
 *                            launchers that have just found it, and longer while programs use its modules
 *     images/.NAME@hex.tmp   one being built, or left by a build that was killed
 *     images/.NAME@hex.stage modules of one to come (stage.ts)
 *     images/.lock           held while images are built or dropped
 */
import { lstatSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, WinnowError } from '../base/errors.ts';
import type { PrefetchPlan } from '../prefetch/model.ts';
import type { Command } from '../profile/model.ts';
import {
  checkName,
  commandKey,
  defaultName,
  distinctName,
  isValidName,
  similarNames,
} from '../profile/name.ts';
import { checkTrustedFile, readTrusted, trustedFolder, withLock } from '../profile/store-files.ts';
import { commandLine } from '../term/text.ts';
import { imageDamaged, imageFailure, noImage, noImageOfCommand } from './image-errors.ts';
import { versionsInUse } from './in-use.ts';
import { type ImageManifest, readManifest } from './manifest.ts';
import { decodePlan } from './plan-decode.ts';
import { isAbandoned } from './stage.ts';

/** How long a replaced image stays: a launcher needs its folder for a millisecond, on a busy machine longer. */
const GRACE_MS = 10_000;

export interface Image {
  readonly name: string;
  /** `images/NAME`: the link, which later builds turn to newer images. */
  readonly path: string;
  readonly manifest: ImageManifest;
}

export interface ListedImage {
  readonly name: string;
  readonly path: string;
  /** The manifest, or why it cannot be read. */
  readonly manifest: ImageManifest | WinnowError;
}

/** What is read or executed of an image without Node. */
const PARTS = ['launch', 'command', 'plan.bin', 'argv', 'modules.bin', 'prelink.bin', 'audit.so'];

export const launcherOf = (image: { readonly path: string }): string => join(image.path, 'launch');

function namesIn(imagesDir: string): string[] {
  if (trustedFolder(imagesDir) === undefined) return [];
  return readdirSync(imagesDir).filter(isValidName).sort();
}

/** @returns undefined where there is none. @throws WinnowError E_IMAGE_…, E_STORE_… */
function readFrom(imagesDir: string, name: string): Image | undefined {
  const path = join(imagesDir, name);
  if (trustedFolder(imagesDir) === undefined || trustedFolder(path) === undefined) return undefined;
  for (const part of PARTS) {
    const isThere = checkTrustedFile(join(path, part));
    if (!isThere && part === 'launch') throw imageDamaged(path, 'it has no launcher');
  }
  return { name, path, manifest: readManifest(join(path, 'manifest.json')) };
}

/**
 * Starts do without most parts; whoever looks at an image, or makes a command of it, wants to hear of it. What is
 * missing of prelinked libraries is told program by program (prelink-check.ts).
 * @throws WinnowError E_IMAGE_DAMAGED
 */
export function requireParts({ path, manifest: { select, share } }: Image): void {
  const parts = [
    ...['program', 'command', 'argv'],
    ...(select === undefined && share === undefined ? [] : ['modules.bin']),
    ...(select === undefined ? [] : ['audit.so']),
  ];
  const missing = parts.find((part) => lstatSync(join(path, part), { throwIfNoEntry: false }) === undefined);
  if (missing !== undefined) throw imageDamaged(path, `it has no ${missing}`);
}

/** All images by name; one of a later folder is hidden by one of the same name before it. */
export function listImages(imagesDirs: readonly string[]): ListedImage[] {
  const listed = new Map<string, ListedImage>();
  for (const imagesDir of imagesDirs) {
    for (const name of namesIn(imagesDir)) {
      if (listed.has(name)) continue;
      const path = join(imagesDir, name);
      try {
        const image = readFrom(imagesDir, name);
        listed.set(name, image ?? { name, path, manifest: imageDamaged(path, 'its folder is gone') });
      } catch (error) {
        if (!(error instanceof WinnowError)) throw error;
        listed.set(name, { name, path, manifest: error });
      }
    }
  }
  return [...listed.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @throws WinnowError E_NO_IMAGE, E_BAD_NAME, E_IMAGE_…, E_STORE_… */
export function readImage(imagesDirs: readonly string[], name: string): Image {
  checkName(name);
  for (const imagesDir of imagesDirs) {
    const image = readFrom(imagesDir, name);
    if (image !== undefined) return image;
  }
  throw noImage(name, imagesDirs[0] ?? '', similarNames(name, imagesDirs.flatMap(namesIn)));
}

/**
 * The image for a command: the one built for it, else the only one of the same program.
 * @throws WinnowError E_NO_IMAGE
 */
export function findImage(imagesDirs: readonly string[], command: Command): Image {
  const key = commandKey(command);
  for (const name of [defaultName(command), distinctName(command)]) {
    for (const imagesDir of imagesDirs) {
      const image = readFrom(imagesDir, name);
      if (image !== undefined && commandKey(image.manifest.command) === key) return image;
    }
  }
  const images = listImages(imagesDirs).flatMap(({ name, path, manifest }) =>
    manifest instanceof WinnowError ? [] : [{ name, path, manifest }],
  );
  // Under a name that a person gave: the one built last.
  const [exact] = images
    .filter(({ manifest }) => commandKey(manifest.command) === key)
    .sort((a, b) => b.manifest.builtAt - a.manifest.builtAt);
  if (exact !== undefined) return exact;
  const same = images.filter(({ manifest }) => manifest.command.program === command.program);
  const [only] = same;
  if (only !== undefined && same.length === 1) return only;
  throw noImageOfCommand(
    commandLine(command.argv),
    same.map(({ name }) => name),
  );
}

/** All images that were built for a command, those built last first. */
export function imagesOfCommand(imagesDirs: readonly string[], command: Command): Image[] {
  const key = commandKey(command);
  return listImages(imagesDirs)
    .flatMap(({ name, path, manifest }) =>
      manifest instanceof WinnowError || commandKey(manifest.command) !== key
        ? []
        : [{ name, path, manifest }],
    )
    .sort((a, b) => b.manifest.builtAt - a.manifest.builtAt);
}

/** The plan of an image. @throws WinnowError E_PLAN_…, E_IMAGE_DAMAGED, E_STORE_… */
export function readPlan(image: Image): PrefetchPlan {
  const path = join(image.path, 'plan.bin');
  const bytes = readTrusted(path);
  if (bytes === undefined) throw imageDamaged(path, 'it has no plan');
  return decodePlan(bytes, path);
}

/** Removes an image; what programs still use of it, a later build removes. What was installed from it no longer starts. @throws WinnowError E_NO_IMAGE */
export function dropImage(imagesDir: string, name: string): void {
  checkName(name);
  const names = namesIn(imagesDir);
  if (!names.includes(name)) throw noImage(name, imagesDir, similarNames(name, names));
  withImagesLock(imagesDir, () => {
    try {
      rmSync(join(imagesDir, name), { recursive: true, force: true });
      removeVersions(imagesDir, ({ of }) => of === name);
    } catch (error) {
      throw imageFailure(error, imagesDir);
    }
  });
}

/** Runs `work` while nobody else changes the images of the folder. */
export function withImagesLock<T>(imagesDir: string, work: () => T): T {
  return withLock(join(imagesDir, '.lock'), work);
}

const VERSION = /^\.(.+)@[0-9a-f]{12}(\.tmp|\.link|\.stage)?$/;

interface Version {
  readonly path: string;
  /** Name of the image. */
  readonly of: string;
  readonly isTemporary: boolean;
}

function removeVersions(imagesDir: string, isUnwanted: (version: Version) => boolean): void {
  const unwanted = readdirSync(imagesDir).filter((file) => {
    const match = VERSION.exec(file);
    if (match === null) return false;
    const path = join(imagesDir, file);
    if (match[2] === '.stage' && !isAbandoned(path)) return false;
    return isUnwanted({ path, of: match[1] ?? '', isTemporary: match[2] !== undefined });
  });
  const inUse = versionsInUse(unwanted);
  for (const file of unwanted) {
    if (!inUse.has(file)) rmSync(join(imagesDir, file), { recursive: true, force: true });
  }
}

function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch (error) {
    // EINVAL: a folder put there by hand.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'EINVAL') return undefined;
    throw error;
  }
}

/** Removes what killed builds left, and images whose successors took over a while ago. Needs the lock. */
export function removeOldVersions(imagesDir: string): void {
  const current = new Set(namesIn(imagesDir).map((name) => targetOf(join(imagesDir, name))));
  removeVersions(imagesDir, ({ path, isTemporary }) => {
    if (isTemporary) return true;
    if (current.has(path.slice(imagesDir.length + 1))) return false;
    return Date.now() - statSync(path).mtimeMs > GRACE_MS;
  });
}

/** Lets `images/NAME` be the folder `version`, which stands beside it. Needs the lock; `link` is a free name. */
export function switchTo(imagesDir: string, name: string, link: string): void {
  const path = join(imagesDir, name);
  const previous = targetOf(path);
  renameSync(link, path);
  // The age of a replaced image is counted from now on.
  if (previous !== undefined) {
    try {
      utimesSync(join(imagesDir, previous), new Date(), new Date());
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
}
