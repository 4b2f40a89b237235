/**
 * Builds an image: plan, program link, launcher, manifest; complete in a folder beside, then switched to
 * by the rename of one symbolic link (images.ts).
 */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { requireRunnable } from '../elf/probe.ts';
import type { PlannedPrefetch, Replacement } from '../prefetch/model.ts';
import { type PrefetchOptions, planPrefetch } from '../prefetch/plan.ts';
import { noProfile } from '../profile/errors.ts';
import { insideRoot, rootFolder } from '../profile/inside-root.ts';
import type { Command, Profile } from '../profile/model.ts';
import { checkName } from '../profile/name.ts';
import { makeFolder, syncFolder, trustedFolder, writeAll } from '../profile/store-files.ts';
import { describe } from './describe.ts';
import { imageFailure, isLauncher } from './image-errors.ts';
import { type Image, removeOldVersions, switchTo, withImagesLock } from './images.ts';
import {
  type Launcher,
  readAuditObject,
  readLauncher,
  readPrelinkObject,
  readRestore,
  sha256,
} from './launcher.ts';
import { type Made, type Makers, make } from './makers.ts';
import { type ImageManifest, writeManifest } from './manifest.ts';
import { writeModulesTable } from './modules-encode.ts';
import type { ColdMode, ShowMode, ShownModule } from './modules-model.ts';
import { encodePlan } from './plan-encode.ts';
import { PLAN_MISSES } from './plan-misses.ts';
import { requireLinkable, seenInRoot } from './root-place.ts';
import { linkByOwnNames, linkedReplacements, linkOrCopy, shownPrograms } from './shared-parts.ts';
import { newVersion, openStage, type Stage } from './stage.ts';

export interface BuildOptions extends Omit<PrefetchOptions, 'replacements'> {
  /** The folder of all images; made if need be. */
  readonly imagesDir: string;
  /** Default: the profile's name. */
  readonly name?: string;
  /** False: the image fetches nothing. */
  readonly prefetch?: boolean;
  /** How the program is shown rewritten modules, where whoever starts it does not say. Default: auto. */
  readonly show?: ShowMode;
  /** What `select` does with unused code. Default: file. */
  readonly cold?: ColdMode;
}

export interface BuiltImage extends Image {
  readonly prefetch: PlannedPrefetch;
  readonly planBytes: number;
}

/**
 * Builds the image of a profile, in place of one of the same name.
 * @throws WinnowError E_USAGE (the root), E_PROGRAM_…, E_ELF_…, E_NO_PROFILE, E_IMAGE_FULL, E_IMAGE_WRITE, E_STORE_…,
 *   E_RUNTIME_MISSING; an image that was there before is unchanged then.
 */
export function buildImage(profile: Profile, options: BuildOptions): BuiltImage {
  const checked = check(profile, options);
  const { imagesDir } = makeFolders(options.imagesDir);
  return finish(profile, options, { ...checked, imagesDir });
}

/**
 * The same with files that techniques make.
 * @throws what `buildImage` throws, and the makers.
 */
export async function buildImageWith(
  profile: Profile,
  options: BuildOptions,
  makers: Makers,
): Promise<BuiltImage> {
  // Before an hour's work: all that can be wrong with the command line.
  const checked = check(profile, options);
  const audit = makers.select === undefined ? undefined : readAuditObject(options.cold ?? 'file');
  const restore = makers.share === undefined ? undefined : readRestore();
  const prelinkObject = makers.prelink === undefined ? undefined : readPrelinkObject();
  if (makers.share !== undefined && checked.root !== undefined)
    requireLinkable(checked.root, resolve(options.imagesDir));
  const { imagesDir } = makeFolders(options.imagesDir);
  const path = join(imagesDir, checked.name);
  const stage = orFailure(path, () => withImagesLock(imagesDir, () => openStage(imagesDir, checked.name)));
  try {
    const made = await make(makers, {
      imagesDir,
      name: checked.name,
      stage,
      root: checked.root,
      restore,
      prelinkObject,
    }).catch((error: unknown) => {
      throw imageFailure(error, path);
    });
    const staged = { stage, ...(audit === undefined ? {} : { audit }), ...made };
    return finish(profile, options, { ...checked, imagesDir, staged });
  } finally {
    stage.close();
  }
}

interface Checked {
  readonly name: string;
  readonly command: Command;
  readonly launcher: Launcher;
  readonly root: string | undefined;
}

function check(profile: Profile, options: BuildOptions): Checked {
  const name = checkName(options.name ?? profile.name);
  const command = profile.runs[0]?.command;
  if (command === undefined) throw noProfile(profile.name, [], options.imagesDir);
  const launcher = readLauncher();
  const root = options.root === undefined ? undefined : rootFolder(options.root);
  checkProgram(command, root, launcher);
  return { name, command, launcher, root };
}

function makeFolders(folder: string): { imagesDir: string } {
  // The launcher's folder is found through links resolved, and links name each other by this path.
  const imagesDir = resolve(folder);
  makeFolder(dirname(imagesDir), 0o700);
  const parent = trustedFolder(dirname(imagesDir)) ?? 0o700;
  makeFolder(imagesDir, 0o700 | (parent & 0o055));
  return { imagesDir };
}

function orFailure<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw imageFailure(error, path);
  }
}

interface Staged extends Made {
  /** Where modules were rewritten. */
  readonly audit?: Launcher;
  readonly stage: Stage;
}

function finish(
  profile: Profile,
  options: BuildOptions,
  parts: Checked & { readonly imagesDir: string; readonly staged?: Staged },
): BuiltImage {
  const { name, root, imagesDir, staged } = parts;
  const path = join(imagesDir, name);
  const prefetches = options.prefetch !== false;
  const prefetch = planPrefetch(prefetches ? profile : nothingOf(profile), {
    ...options,
    ...(root === undefined ? {} : { root }),
    ...(staged === undefined ? {} : { replacements: replacementsOf(staged, imagesDir, root) }),
  });
  const plan = encodePlan(prefetch.plan);
  const manifest = describe({ ...parts, ...staged, profile, prefetch, prefetches });
  orFailure(path, () =>
    withImagesLock(imagesDir, () => {
      removeOldVersions(imagesDir);
      install(imagesDir, { ...parts, plan, manifest, programs: programsOf(profile), show: options.show });
    }),
  );
  return { name, path, manifest, prefetch, planBytes: plan.length };
}

/** The command without what its runs used. */
const nothingOf = (profile: Profile): Profile => ({
  ...profile,
  runs: profile.runs.map((run) => ({ ...run, files: [], processes: [], lookups: [] })),
});

/** Where the launcher finds what it shows in place of originals, and what a start needs of it. */
function replacementsOf(
  { stage, select, share }: Staged,
  imagesDir: string,
  root: string | undefined,
): Map<string, Replacement> {
  const { dev } = statSync(stage.modules, { bigint: true });
  const folder = join(imagesDir, stage.version);
  const inside = root === undefined ? folder : (seenInRoot(root, folder) ?? folder);
  const modules = (select?.modules ?? []).map(
    ({ path, file, fileSize, fileMtimeNs, fileInode, pages }): [string, Replacement] => {
      const now = { size: fileSize, mtimeNs: fileMtimeNs, inode: fileInode, dev };
      return [path, { path: join(inside, file), ...now, ...pages }];
    },
  );
  const programs =
    share === undefined
      ? []
      : linkedReplacements(share, { from: stage.modules, to: inside, rewritten: new Map(modules), root });
  return new Map([...modules, ...programs]);
}

/** A launcher that starts itself would go round for ever. */
function checkProgram({ program }: Command, root: string | undefined, launcher: Launcher): void {
  const path = root === undefined ? program : insideRoot(root, program);
  requireRunnable(path);
  const size = statSync(path).size;
  if (size === launcher.bytes.length && sha256(readFileSync(path)) === launcher.sha256)
    throw isLauncher(path);
}

/** @param programs what the recordings saw executed; every other module is a library. */
function shownModules({ select, share }: Made, programs: ReadonlySet<string>): ShownModule[] {
  const linked = new Set(share?.programs.map(({ path }) => path));
  const rewritten = select?.modules.filter(({ path }) => !linked.has(path)) ?? [];
  return [
    ...rewritten.map(
      ({ path, size, mtimeNs, inode, file, fileSize, usesOrigin }): ShownModule => ({
        path,
        identity: { size, mtimeNs, inode },
        replacement: file,
        replacementSize: fileSize,
        role: programs.has(path) ? 'program' : 'library',
        usesOrigin,
      }),
    ),
    ...(share === undefined ? [] : shownPrograms(share, select !== undefined)),
  ];
}

const programsOf = ({ runs }: Profile): Set<string> =>
  new Set(runs.flatMap(({ processes }) => processes.map(({ program }) => program)));

interface Contents {
  readonly name: string;
  readonly command: Command;
  readonly launcher: Launcher;
  readonly root: string | undefined;
  readonly plan: Uint8Array;
  readonly manifest: ImageManifest;
  readonly programs: ReadonlySet<string>;
  readonly show: ShowMode | undefined;
  readonly staged?: Staged;
}

function install(imagesDir: string, contents: Contents): void {
  const { name, command, launcher, root, plan, manifest, programs, staged } = contents;
  const version = staged?.stage.version ?? newVersion(name);
  const temporary = join(imagesDir, `${version}.tmp`);
  const link = join(imagesDir, `${version}.link`);
  // An image is as private as the folder its owner made for all of them.
  const shared = (trustedFolder(imagesDir) ?? 0o700) & 0o055;
  const file = 0o600 | (shared & 0o044);
  try {
    if (staged === undefined) {
      mkdirSync(temporary, { mode: 0o700 });
    } else {
      renameSync(staged.stage.modules, temporary);
      if (staged.prelink === undefined) {
        const table = writeModulesTable(shownModules(staged, programs), contents.show, staged.select?.cold);
        writeSynced(join(temporary, 'modules.bin'), table, file);
      }
      if (staged.audit !== undefined)
        writeSynced(join(temporary, 'audit.so'), staged.audit.bytes, 0o700 | shared);
      if (staged.share !== undefined && staged.select === undefined)
        linkByOwnNames(temporary, { program: command.program, root }, staged.share, 0o700 | shared);
    }
    chmodSync(temporary, 0o700 | shared);
    writeSynced(join(temporary, 'manifest.json'), writeManifest(manifest), file);
    writeSynced(join(temporary, 'plan.bin'), plan, file);
    writeSynced(join(temporary, PLAN_MISSES), Buffer.alloc(0), file);
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
