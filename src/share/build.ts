/** Builds what the plan says: for each program its linked image, its copy, and the launcher that the copy names. */
import { readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PAGE_SIZE } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { readElf } from '../elf/read.ts';
import { PT_LOAD } from '../elf/spec.ts';
import { identifyFile, sameFile } from '../profile/identity.ts';
import type { BuiltShare, KeptProgram, PlannedShare, ProgramToShare, SharedProgram } from './built.ts';
import { missesName } from './built.ts';
import { figuresOf, joinedFigures, replacedPages, slideFigures, takenFigures } from './figures.ts';
import { joinedPages } from './joined-pages.ts';
import { encodeHead } from './linked/linked-encode.ts';
import type { PlacedImage, ProcessorTraits } from './linked/linked-model.ts';
import { isJoined, type LinkedState, type NotLinked, type ShareVariant } from './model.ts';
import { ModuleReader } from './module-reader.ts';
import { asksForMap, findQuestion } from './own-path.ts';
import { type Bases, chooseBases } from './place/addresses.ts';
import { type DirectCalls, directCalls } from './place/direct-calls.ts';
import { guardsOf } from './place/guards.ts';
import { MOST_COPIED_PAGES } from './place/join.ts';
import { type PageIn, pageInOf } from './place/page-in.ts';
import { placeLinked } from './place/place.ts';
import { copyProgram, copyRestore, sumOfBeginning } from './place/program-copy.ts';
import { librariesToTake } from './place/take.ts';
import { addressesOf, keepValues, linkFile } from './same-program.ts';
import { findSanitizer } from './sanitizers.ts';
import { isLinked, linkProgram } from './snapshot/link.ts';
import { writeCopy, writeFile } from './write-files.ts';

export interface ShareBuildOptions {
  /** An empty folder to write into. */
  readonly folder: string;
  /** Where that folder will be found at a start. */
  readonly image: string;
  /** The launcher of linked images, and what it says of this machine's processor. */
  readonly restore: Uint8Array;
  readonly processor: ProcessorTraits;
  /** Files that the recordings saw mapped: they may ask for the program's path, too. */
  readonly mapped: readonly string[];
  /** Added to the mode of files that the launcher reads: an image is as private as its folder. */
  readonly sharedMode: number;
  /** `files` where none is given. */
  readonly variant?: ShareVariant;
  /** Each start chooses other addresses. */
  readonly slides?: boolean;
  /** With `slides`: words of read-only pages are written when they are touched. */
  readonly pagesIn?: boolean;
  /** Programs of other images: where one would be the same, its file is this image's, too. */
  readonly others?: readonly OtherImage[];
  readonly onProgress?: (done: number, all: number) => void;
}

/** Another image's program and NAME.linked, absolute paths. */
export interface OtherImage {
  readonly program: string;
  readonly linked: string;
}

/**
 * Blocks while a program's loader is run.
 * @throws what linking a program and writing files throw; the folder then holds a part.
 */
export async function buildShare(
  { programs, kept }: PlannedShare,
  options: ShareBuildOptions,
): Promise<BuiltShare> {
  const built: SharedProgram[] = [];
  const stayed: KeptProgram[] = [...kept];
  for (const [index, program] of programs.entries()) {
    options.onProgress?.(index, programs.length);
    // Lets the progress be drawn.
    await new Promise((resolve) => setImmediate(resolve));
    const result = shareProgram(program, index, options);
    if (result.kind === 'built') built.push(result.program);
    else stayed.push(keptProgram(program.path, result));
  }
  return { programs: built, kept: stayed };
}

const keptProgram = (path: string, { reason, detail }: NotLinked): KeptProgram => ({
  path,
  reason,
  ...(detail === undefined ? {} : { detail }),
});

type Shared = { readonly kind: 'built'; readonly program: SharedProgram };

function shareProgram(
  { path, libraryPath }: ProgramToShare,
  index: number,
  options: ShareBuildOptions,
): Shared | NotLinked {
  const { folder, image, restore, variant = 'files', slides = false, pagesIn = false } = options;
  const names = fileNames(index, path);
  // $ORIGIN would be another folder where the copy is executed by its own name.
  if (libraryPath?.includes('$'))
    return { kind: 'kept', reason: 'LD_LIBRARY_PATH with a $', detail: libraryPath };
  let identity: ReturnType<typeof identifyFile>;
  let state: LinkedState | NotLinked;
  try {
    identity = identifyFile(path);
    state = linkProgram(path, { libraryPath });
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    return { kind: 'kept', reason: `cannot be linked: ${error.code}`, detail: error.what };
  }
  if (!isLinked(state)) return state;
  const sanitizer = findSanitizer(state.files.map((file) => file.path));
  if (sanitizer !== undefined)
    return { kind: 'kept', reason: 'a sanitizer allows it no memory at other addresses', detail: sanitizer };
  const guards = guardsOf(state);
  if (guards.kind === 'kept') return guards;
  const program = readFileSync(path);
  if (!sameFile(identifyFile(path), identity))
    return { kind: 'kept', reason: 'a file has changed while the image was built', detail: path };
  const elf = readElf(program, path);
  const copy = copyProgram(elf, join(image, names.restore));
  if (!Buffer.isBuffer(copy)) return copy;
  const taken: ReadonlyMap<number, number> =
    variant === 'auto' ? librariesToTake(state, asksForMap) : new Map();
  const own = 0o600 | (options.sharedMode & 0o044);
  const reader = new ModuleReader(state);
  const placeAt = (bases: Bases, like?: PlacedImage): Placed => {
    const calls = variant === 'direct' ? directCalls(state, bases, reader.read) : undefined;
    const made = placeLinked(state, bases, {
      ...guards,
      processor: options.processor,
      read: calls?.read ?? reader.read,
      programCuts: segmentStarts(elf),
      programSum: sumOfBeginning(copy, elf),
      variant,
      slides,
      taken,
      // Of code that was changed for the image there is no file.
      mostCopied: variant === 'direct' ? Number.POSITIVE_INFINITY : MOST_COPIED_PAGES,
    });
    if (like !== undefined) keepValues(made, like, state.leftovers, bases);
    const pageIn =
      made.slide !== undefined && pagesIn
        ? pageInOf(made, [path, ...state.files.map((file) => file.path)])
        : undefined;
    const slide =
      made.slide === undefined || pageIn === undefined
        ? made.slide
        : { ...made.slide, pagesIn: pageIn.kind === 'left' };
    const complete = { ...made, slide };
    return { bases, calls, image: complete, head: encodeHead(complete), pageIn };
  };
  const linkedAt = join(folder, names.linked);
  const others = (options.others ?? []).filter(({ program: its }) => its === path);
  let placed: Placed | undefined;
  try {
    placed = placeAsOther(others, { path: linkedAt, mode: own }, state, placeAt);
    if (placed === undefined) {
      placed = placeAt(chooseBases(state, undefined, { slides }));
      writeFile(linkedAt, [placed.head, placed.image.pages], own);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { kind: 'kept', reason: 'what its loader made cannot be placed', detail: error.message };
  } finally {
    reader.close();
  }
  const { bases, calls, head, image: its, pageIn } = placed;
  const patched = copyRestore(restore, join(image, names.linked), 'restore');
  writeFile(join(folder, missesName(names.linked)), [], own);
  writeFile(join(folder, names.restore), [patched], 0o700 | options.sharedMode);
  writeCopy(join(folder, names.copy), copy, path);
  const { size, mtimeNs, inode } = identity;
  return {
    kind: 'built',
    program: {
      path,
      size,
      mtimeNs,
      inode,
      ...names,
      copySize: copy.length,
      asksForItself: findQuestion([path, ...state.files.map((file) => file.path), ...options.mapped]),
      libraryPath,
      joined: isJoined(variant) ? joinedFigures(state, bases, its, calls) : undefined,
      taken: variant === 'auto' ? takenFigures(taken) : undefined,
      slide: its.slide === undefined ? undefined : slideFigures(its.slide, its.fixUps, pageIn),
      figures: figuresOf(state, its, head.length + its.pages.length),
      joinedPages: isJoined(variant) ? joinedPages(state, bases, its, head.length) : undefined,
      replaced: replacedPages(state, taken),
    },
  };
}

interface Placed {
  readonly bases: Bases;
  readonly calls: DirectCalls | undefined;
  readonly image: PlacedImage;
  readonly head: Buffer;
  readonly pageIn: PageIn | undefined;
}

/** The file of another image under a second name, where this program would be no other at its addresses. */
function placeAsOther(
  others: readonly OtherImage[],
  file: { readonly path: string; readonly mode: number },
  state: LinkedState,
  placeAt: (bases: Bases, like: PlacedImage) => Placed,
): Placed | undefined {
  for (const { linked } of others) {
    const other = linkFile(linked, file);
    if (other === undefined) continue;
    let isSame = false;
    try {
      const bases = addressesOf(state, other.image);
      const placed = bases === undefined ? undefined : placeAt(bases, other.image);
      isSame = placed !== undefined && Buffer.concat([placed.head, placed.image.pages]).equals(other.bytes);
      if (isSame) return placed;
    } finally {
      if (!isSame) rmSync(file.path);
    }
  }
  return undefined;
}

function segmentStarts({ segments }: ReturnType<typeof readElf>): number[] {
  const loaded = segments.filter(({ type }) => type === PT_LOAD);
  return loaded.map(({ rva }) => rva - (rva % PAGE_SIZE)).sort((a, b) => a - b);
}

/** Bytes that a file name may have, with the endings. */
const MOST_NAME = 230;

/** `share-00-git`, `….linked`, `….restore`. */
function fileNames(index: number, path: string): Pick<SharedProgram, 'copy' | 'linked' | 'restore'> {
  const number = `share-${String(index).padStart(2, '0')}`;
  const name = `${number}-${basename(path)}`;
  const copy = Buffer.byteLength(name) > MOST_NAME ? number : name;
  return { copy, linked: `${copy}.linked`, restore: `${copy}.restore` };
}
