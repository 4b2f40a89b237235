/**
 * Builds an image: plan, program link, launcher, manifest; complete in a folder beside, then switched to
 * by the rename of one symbolic link (images.ts).
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { requireRunnable } from '../elf/probe.ts';
import type { PlannedPrefetch } from '../prefetch/model.ts';
import { type PrefetchOptions, planPrefetch } from '../prefetch/plan.ts';
import { noProfile } from '../profile/errors.ts';
import { insideRoot, rootFolder } from '../profile/inside-root.ts';
import type { Command, Profile } from '../profile/model.ts';
import { checkName } from '../profile/name.ts';
import { makeFolder, syncFolder, trustedFolder, writeAll } from '../profile/store-files.ts';
import { imageFailure, isLauncher } from './image-errors.ts';
import { type Image, removeOldVersions, switchTo, withImagesLock } from './images.ts';
import { type Launcher, readLauncher, sha256 } from './launcher.ts';
import { type ImageManifest, MANIFEST_VERSION, writeManifest } from './manifest.ts';
import { encodePlan } from './plan-encode.ts';
import { PLAN_VERSION } from './plan-layout.ts';

export interface BuildOptions extends PrefetchOptions {
  /** The folder of all images; made if need be. */
  readonly imagesDir: string;
  /** Default: the profile's name. */
  readonly name?: string;
}

export interface BuiltImage extends Image {
  readonly prefetch: PlannedPrefetch;
  readonly planBytes: number;
}

/**
 * Plans the prefetch of a profile and builds its image, in place of one of the same name.
 * @throws WinnowError E_USAGE (the root), E_PROGRAM_…, E_ELF_…, E_NO_PROFILE, E_IMAGE_FULL, E_IMAGE_WRITE, E_STORE_…,
 *   E_RUNTIME_MISSING; an image that was there before is unchanged then.
 */
export function buildImage(profile: Profile, options: BuildOptions): BuiltImage {
  const name = checkName(options.name ?? profile.name);
  const command = profile.runs[0]?.command;
  if (command === undefined) throw noProfile(profile.name, [], options.imagesDir);
  const launcher = readLauncher();
  const root = options.root === undefined ? undefined : rootFolder(options.root);
  checkProgram(command, root, launcher);
  const prefetch = planPrefetch(profile, root === undefined ? options : { ...options, root });
  const plan = encodePlan(prefetch.plan);
  const manifest = describe({ name, profile, command, launcher, prefetch, root });
  // The launcher's folder is found through links resolved, and links name each other by this path.
  const imagesDir = resolve(options.imagesDir);
  makeFolder(dirname(imagesDir), 0o700);
  const parent = trustedFolder(dirname(imagesDir)) ?? 0o700;
  makeFolder(imagesDir, 0o700 | (parent & 0o055));
  withImagesLock(imagesDir, () => {
    try {
      removeOldVersions(imagesDir);
      install(imagesDir, { name, command, launcher, plan, manifest });
    } catch (error) {
      throw imageFailure(error, join(imagesDir, name));
    }
  });
  return { name, path: join(imagesDir, name), manifest, prefetch, planBytes: plan.length };
}

/** A launcher that starts itself would go round for ever. */
function checkProgram({ program }: Command, root: string | undefined, launcher: Launcher): void {
  const path = root === undefined ? program : insideRoot(root, program);
  requireRunnable(path);
  const size = statSync(path).size;
  if (size === launcher.bytes.length && sha256(readFileSync(path)) === launcher.sha256)
    throw isLauncher(path);
}

interface Parts {
  readonly name: string;
  readonly profile: Profile;
  readonly command: Command;
  readonly launcher: Launcher;
  readonly prefetch: PlannedPrefetch;
  readonly root: string | undefined;
}

function describe({ name, profile, command, launcher, prefetch, root }: Parts): ImageManifest {
  return {
    winnow: 'image',
    version: MANIFEST_VERSION,
    name,
    builtAt: Date.now(),
    command: { program: command.program, argv: [...command.argv], cwd: command.cwd },
    profile: { name: profile.name, runs: profile.runs.map(({ id }) => id) },
    techniques: ['prefetch'],
    versions: { plan: PLAN_VERSION, launcher: launcher.sha256 },
    ...(root === undefined ? {} : { root }),
    inputs: prefetch.plan.files.map(({ path, size, mtimeNs, inode }) => ({
      path,
      size,
      mtimeNs: String(mtimeNs),
      inode: String(inode),
    })),
    prefetch: { figures: prefetch.figures, skipped: [...prefetch.skipped] },
  };
}

interface Contents {
  readonly name: string;
  readonly command: Command;
  readonly launcher: Launcher;
  readonly plan: Uint8Array;
  readonly manifest: ImageManifest;
}

function install(imagesDir: string, { name, command, launcher, plan, manifest }: Contents): void {
  const version = `.${name}@${randomBytes(6).toString('hex')}`;
  const temporary = join(imagesDir, `${version}.tmp`);
  const link = join(imagesDir, `${version}.link`);
  // An image is as private as the folder its owner made for all of them.
  const shared = (trustedFolder(imagesDir) ?? 0o700) & 0o055;
  const file = 0o600 | (shared & 0o044);
  try {
    mkdirSync(temporary, { mode: 0o700 });
    chmodSync(temporary, 0o700 | shared);
    writeSynced(join(temporary, 'manifest.json'), writeManifest(manifest), file);
    writeSynced(join(temporary, 'plan.bin'), plan, file);
    writeSynced(join(temporary, 'argv'), Buffer.from(command.argv.map((word) => `${word}\0`).join('')), file);
    writeSynced(join(temporary, 'launch'), launcher.bytes, 0o700 | shared);
    linkOrCopy(join(temporary, 'launch'), join(temporary, 'command'));
    symlinkSync(command.program, join(temporary, 'program'));
    syncFolder(temporary);
    renameSync(temporary, join(imagesDir, version));
    // From here on the image is complete; nobody sees it yet.
    symlinkSync(version, link);
    switchTo(imagesDir, name, link);
    syncFolder(imagesDir);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
    rmSync(link, { force: true });
  }
}

function writeSynced(path: string, bytes: Uint8Array, mode: number): void {
  const fd = openSync(path, 'wx', mode);
  try {
    writeAll(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  // Whatever the umask.
  chmodSync(path, mode);
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    // File systems without hard links.
    if (errnoOf(error) !== 'EPERM' && errnoOf(error) !== 'EOPNOTSUPP' && errnoOf(error) !== 'EMLINK')
      throw error;
    copyFileSync(from, to);
  }
}
