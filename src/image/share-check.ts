/**
 * Which programs of an image would start linked if they were started now, and what each of their guards says: what
 * restore.c finds out at a start, in words.
 */
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { insideRoot } from '../profile/inside-root.ts';
import { readTrusted } from '../profile/store-files.ts';
import { decodeLinked } from '../share/linked/linked-decode.ts';
import type { PlacedFile, PlacedImage, PlacedMap } from '../share/linked/linked-model.ts';
import { layersOf } from '../share/linked/linked-rules.ts';
import { askRestore } from '../share/linked/restore-answer.ts';
import { holds, type Look, lookAtFile } from '../share/place/guards.ts';
import { listImages } from './images.ts';
import type { ImageManifest } from './manifest.ts';
import { checkModules } from './modules-check.ts';
import { type ProgramMisses, readMisses } from './share-misses.ts';
import { REFUSED } from './share-words.ts';

type SharedProgram = NonNullable<ImageManifest['share']>['programs'][number];
type SelectedModule = NonNullable<ImageManifest['select']>['modules'][number];

export interface CheckedGuard {
  /** `module`: the file that is mapped. `absent`, `unchanged`: a path that decided where the loader found something. */
  readonly kind: 'module' | 'absent' | 'unchanged';
  readonly path: string;
  readonly holds: boolean;
}

export interface CheckedProgram {
  readonly path: string;
  /** Why it would start by its own loader; undefined where it starts linked. */
  readonly refused?: string;
  /** Why its copy would not be shown, so that it starts by its own loader all the same. */
  readonly notShown?: string;
  readonly guards: readonly CheckedGuard[];
  /** Starts by its own loader so far; undefined where they are not counted. */
  readonly misses: ProgramMisses | undefined;
  /** Other images that have the same file, as the program is the same. */
  readonly otherImages: number;
  /** Where it was placed, hexadecimal; the same at every start of this image. */
  readonly addresses: { readonly program: string; readonly loader: string };
  /** Bytes of each kind of mapping: what a process shares with others, and what it does not. */
  readonly mapped: { readonly files: number; readonly pages: number; readonly zeros: number };
}

/** @throws WinnowError E_STORE_… */
export function checkShared(image: {
  readonly path: string;
  readonly manifest: ImageManifest;
}): CheckedProgram[] {
  const { share, select, root } = image.manifest;
  const original: Look = root === undefined ? lookAtFile : (path) => lookAtFile(insideRoot(root, path));
  const look = lookAsShown(image.path, select?.modules ?? [], original);
  const sight = { look, original, isElsewhere: select !== undefined || root !== undefined };
  // Whether anything can be mounted in another root is not known here.
  const shown = root === undefined ? (checkModules(image)?.modules ?? []) : [];
  const reasons = new Map(
    shown.flatMap(({ path, leftOut }) => (leftOut === undefined ? [] : [[path, leftOut]])),
  );
  return (share?.programs ?? []).map((program) => {
    const notShown = reasons.get(program.path);
    const checked = checkProgram(image.path, program, sight);
    return notShown === undefined ? checked : { ...checked, notShown };
  });
}

interface Sight {
  readonly look: Look;
  /** Without copies of modules. */
  readonly original: Look;
  /** Whether a start sees other files than we do by these paths. */
  readonly isElsewhere: boolean;
}

/** What a start sees: copies of modules in place of the originals that they were made from. */
function lookAsShown(folder: string, modules: readonly SelectedModule[], original: Look): Look {
  const copies = new Map(modules.map((module) => [module.inode, module]));
  return (path) => {
    const now = original(path);
    const module = now === undefined ? undefined : copies.get(String(now.inode));
    const isOriginal =
      module !== undefined && now?.size === module.size && String(now.mtimeNs) === module.mtimeNs;
    return isOriginal ? lookAtFile(join(folder, module.file)) : now;
  };
}

function checkProgram(folder: string, program: SharedProgram, sight: Sight): CheckedProgram {
  const none = {
    path: program.path,
    guards: [],
    misses: readMisses(folder, program),
    otherImages: 0,
    addresses: { program: '', loader: '' },
    mapped: { files: 0, pages: 0, zeros: 0 },
  };
  const path = join(folder, program.linked);
  const bytes = readTrusted(path);
  if (bytes === undefined) return { ...none, refused: REFUSED.image };
  let linked: PlacedImage;
  try {
    linked = decodeLinked(bytes, path);
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    return { ...none, refused: `${error.code}: ${error.what}` };
  }
  const guards = guardsNow(linked, sight.look);
  const refused = whyRefused(folder, program, { guards, sight });
  return {
    path: program.path,
    guards,
    misses: none.misses,
    otherImages: imagesWith(folder, path),
    addresses: { program: linked.program.at.toString(16), loader: linked.base.toString(16) },
    mapped: mappedBytes(linked),
    ...(refused === undefined ? {} : { refused }),
  };
}

/** How many other images beside this one have the file; an image that was replaced is none, even if it is still there. */
function imagesWith(folder: string, path: string): number {
  const { ino, nlink } = statSync(path, { bigint: true });
  if (nlink === 1n) return 0;
  const others = listImages([dirname(folder)]).filter((one) => one.path !== folder);
  return others.filter(({ path: at, manifest }) => {
    const programs = manifest instanceof WinnowError ? [] : (manifest.share?.programs ?? []);
    return programs.some(
      ({ linked }) => statSync(join(at, linked), { bigint: true, throwIfNoEntry: false })?.ino === ino,
    );
  }).length;
}

function guardsNow({ files, watches }: PlacedImage, look: Look): CheckedGuard[] {
  return [
    ...files.map((file): CheckedGuard => ({ kind: 'module', path: file.path, holds: isThere(file, look) })),
    ...watches.map(
      (watch): CheckedGuard => ({ kind: watch.kind, path: watch.path, holds: holds(watch, look) }),
    ),
  ];
}

function isThere({ path, size, mtimeNs, inode, device }: PlacedFile, look: Look): boolean {
  const now = look(path);
  if (now?.kind !== 'file' || now.device !== device) return false;
  return now.size === size && now.mtimeNs === mtimeNs && now.inode === inode;
}

function whyRefused(
  folder: string,
  { path, size, mtimeNs, inode, restore, linked, libraryPath }: SharedProgram,
  { guards, sight }: { readonly guards: readonly CheckedGuard[]; readonly sight: Sight },
): string | undefined {
  const now = sight.original(path);
  const isSame =
    now?.kind === 'file' &&
    now.size === size &&
    String(now.mtimeNs) === mtimeNs &&
    String(now.inode) === inode;
  if (!isSame) return REFUSED.program;
  const broken = guards.find((guard) => !guard.holds);
  if (broken !== undefined)
    return `${broken.kind === 'module' ? REFUSED.file : REFUSED.watch}: ${broken.path}`;
  try {
    const { refused } = askRestore(join(folder, restore), join(folder, linked), libraryPath);
    // Restore sees this machine's originals. It has judged the machine before it comes to files.
    if (sight.isElsewhere && (refused === 'file' || refused === 'watch')) return undefined;
    return refused === 'good' ? undefined : REFUSED[refused];
  } catch (error) {
    if (error instanceof WinnowError) return 'its launcher cannot be run';
    throw error;
  }
}

function mappedBytes(image: PlacedImage): CheckedProgram['mapped'] {
  const { maps } = image;
  const under = layersOf(image) ?? new Map<PlacedMap, PlacedMap>();
  const covered = new Map<PlacedMap, number>();
  for (const [map, area] of under) covered.set(area, (covered.get(area) ?? 0) + map.size);
  const sum = (kinds: readonly string[]): number =>
    maps.reduce(
      (total, map) => (kinds.includes(map.source.kind) ? total + map.size - (covered.get(map) ?? 0) : total),
      0,
    );
  return { files: sum(['file', 'program']), pages: sum(['pages']), zeros: sum(['zeros']) };
}
