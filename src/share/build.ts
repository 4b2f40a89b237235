/** Builds what the plan says: for each program its linked image, its copy, and the launcher that the copy names. */
import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  utimesSync,
  writeSync,
} from 'node:fs';
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
import { type FileRange, isJoined, type LinkedState, type NotLinked, type ShareVariant } from './model.ts';
import { asksForMap, findQuestion } from './own-path.ts';
import { type Bases, chooseBases } from './place/addresses.ts';
import { type DirectCalls, directCalls } from './place/direct-calls.ts';
import { guardsOf } from './place/guards.ts';
import { MOST_COPIED_PAGES } from './place/join.ts';
import { type PageIn, pageInOf } from './place/page-in.ts';
import { placeLinked } from './place/place.ts';
import { copyProgram, copyRestore, sumOfBeginning } from './place/program-copy.ts';
import { librariesToTake } from './place/take.ts';
import { findSanitizer } from './sanitizers.ts';
import { isLinked, linkProgram } from './snapshot/link.ts';

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
  readonly onProgress?: (done: number, all: number) => void;
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
  const reader = new FileReader(state);
  let placed: PlacedImage;
  let head: Buffer;
  let bases: Bases;
  let calls: DirectCalls | undefined;
  let pageIn: PageIn | undefined;
  try {
    const { processor } = options;
    bases = chooseBases(state, undefined, { slides });
    calls = variant === 'direct' ? directCalls(state, bases, reader.read) : undefined;
    placed = placeLinked(state, bases, {
      ...guards,
      processor,
      read: calls?.read ?? reader.read,
      programCuts: segmentStarts(elf),
      programSum: sumOfBeginning(copy, elf),
      variant,
      slides,
      taken,
      // Of code that was changed for the image there is no file.
      mostCopied: variant === 'direct' ? Number.POSITIVE_INFINITY : MOST_COPIED_PAGES,
    });
    if (placed.slide !== undefined && pagesIn) {
      pageIn = pageInOf(placed, [path, ...state.files.map((file) => file.path)]);
      placed = { ...placed, slide: { ...placed.slide, pagesIn: pageIn.kind === 'left' } };
    }
    head = encodeHead(placed);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { kind: 'kept', reason: 'what its loader made cannot be placed', detail: error.message };
  } finally {
    reader.close();
  }
  const patched = copyRestore(restore, join(image, names.linked), 'restore');
  const own = 0o600 | (options.sharedMode & 0o044);
  writeFile(join(folder, names.linked), [head, placed.pages], own);
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
      joined: isJoined(variant) ? joinedFigures(state, bases, placed, calls) : undefined,
      taken: variant === 'auto' ? takenFigures(taken) : undefined,
      slide: placed.slide === undefined ? undefined : slideFigures(placed.slide, placed.fixUps, pageIn),
      figures: figuresOf(state, placed, head.length + placed.pages.length),
      joinedPages: isJoined(variant) ? joinedPages(state, bases, placed, head.length) : undefined,
      replaced: replacedPages(state, taken),
    },
  };
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

/** Pages of the linked files, as mappings show them. */
class FileReader {
  readonly #paths: readonly string[];
  readonly #open = new Map<number, number>();

  constructor({ files }: LinkedState) {
    this.#paths = files.map(({ path }) => path);
  }

  readonly read = ({ file, offset }: FileRange, size: number): Buffer | undefined => {
    const fd = this.#fd(file);
    if (fd === undefined) return undefined;
    const end = Math.ceil(fstatSync(fd).size / PAGE_SIZE) * PAGE_SIZE;
    if (offset + size > end) return undefined;
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; ) {
      const got = readSync(fd, bytes, at, size - at, offset + at);
      if (got === 0) break;
      at += got;
    }
    return bytes;
  };

  #fd(file: number): number | undefined {
    const known = this.#open.get(file);
    const path = this.#paths[file];
    if (known !== undefined || path === undefined) return known;
    const fd = openSync(path, 'r');
    this.#open.set(file, fd);
    return fd;
  }

  close(): void {
    for (const fd of this.#open.values()) closeSync(fd);
  }
}

/** Pages of zeros become holes. */
function writeFile(path: string, parts: readonly Uint8Array[], mode: number): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    let start = 0;
    for (const bytes of parts) {
      for (const [from, to] of filledRanges(bytes))
        for (let at = from; at < to; ) at += writeSync(fd, bytes, at, to - at, start + at);
      start += bytes.length;
    }
    ftruncateSync(fd, start);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  // Whatever the umask.
  chmodSync(path, mode);
}

const ZERO_PAGE = Buffer.alloc(PAGE_SIZE);

/** Stretches of pages that are not all zeros. */
function filledRanges(bytes: Uint8Array): [from: number, to: number][] {
  const ranges: [number, number][] = [];
  for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
    const end = Math.min(at + PAGE_SIZE, bytes.length);
    if (ZERO_PAGE.compare(bytes, at, end, 0, end - at) === 0) continue;
    const last = ranges.at(-1);
    if (last?.[1] === at) last[1] = end;
    else ranges.push([at, end]);
  }
  return ranges;
}

/** The copy can be executed by whoever could the original; who finds it is up to the image's folder, or to a mount. */
function writeCopy(path: string, bytes: Uint8Array, original: string): void {
  writeFile(path, [bytes], 0o600);
  const fd = openSync(original, 'r');
  try {
    const { mode, uid, gid, atime, mtime } = fstatSync(fd);
    // Whoever owns the copy could change it, so only root's stays with its owner.
    if (uid === 0 && process.geteuid?.() === 0) chownSync(path, uid, gid);
    chmodSync(path, 0o600 | (mode & 0o555));
    utimesSync(path, atime, mtime);
  } finally {
    closeSync(fd);
  }
}
