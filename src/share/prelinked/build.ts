/** Builds what the plan says: for each program its libraries' copies, and prelink.bin for all of them. The essay is in model.ts. */
import { randomInt } from 'node:crypto';
import { rmSync, statSync, truncateSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PAGE_SIZE } from '../../base/brands.ts';
import { WinnowError } from '../../base/errors.ts';
import * as spec from '../../elf/spec.ts';
import { hasFileCapabilities } from '../../sys/capabilities.ts';
import type { KeptProgram, PlannedShare } from '../built.ts';
import { linkedAt } from '../closure/loader-start.ts';
import { type Closure, type ClosureModule, type NotDynamic, readClosure } from '../closure/modules.ts';
import { alignOf, pagesOf } from '../notes/layouts.ts';
import { PROGRAM_RANGE } from '../place/addresses.ts';
import type { PrelinkedModule } from '../prelink/model.ts';
import { type PrelinkedClosure, prelinkClosure } from '../prelink/prelink.ts';
import { findSanitizer } from '../sanitizers.ts';
import type { BuiltPrelink, BuiltProgram, FileStamp, PrelinkedEntry } from './model.ts';
import { encodePrelinked } from './prelinked-encode.ts';
import { PRELINK_MODULES_MAX } from './prelinked-layout.ts';
import { slideObject } from './slide-object.ts';
import { needsMuchStorage } from './static-storage.ts';
import { type Copied, whyNotStarted } from './trial.ts';
import { writeCopy } from './write-copy.ts';

export interface PrelinkBuildOptions {
  /** An empty folder to write into; in its parent folders everybody that will start a program must be able to search. */
  readonly folder: string;
  /** The audit object (runtime/prelink.c). */
  readonly object: Uint8Array;
  /** Added to the mode of files that the loader reads: an image is as private as its folder. */
  readonly sharedMode: number;
  readonly onProgress?: (done: number, all: number) => void;
}

const HUGE_PAGE = 2 ** 21;
const SET_ID = 0o6000;
const FILTERS: readonly number[] = [0x7ffffffd, 0x7fffffff];
/** Bytes that a file name may have. */
const MOST_NAME = 250;

/**
 * Blocks while a program is prelinked.
 * @throws what writing files throws; the folder then holds a part.
 */
export async function buildPrelinked(
  { programs, kept }: PlannedShare,
  options: PrelinkBuildOptions,
): Promise<BuiltPrelink> {
  const { folder, sharedMode } = options;
  const base = randomBase();
  const mode = 0o600 | (sharedMode & 0o044);
  const candidates: Candidate[] = [];
  const stayed: KeptProgram[] = [...kept];
  for (const [index, { path }] of programs.entries()) {
    options.onProgress?.(index, programs.length);
    // Lets the progress be drawn.
    await new Promise((resolve) => setImmediate(resolve));
    const result = prelinkProgram(path, index, { ...options, from: base + HUGE_PAGE, mode });
    if (result.kind === 'built') candidates.push(result);
    else stayed.push(result.program);
  }
  const object = join(folder, 'audit.so');
  writeCopy(object, slideObject(options.object, base, object), mode | 0o100 | (sharedMode & 0o011));
  const table = join(folder, 'prelink.bin');
  const writeTable = (all: readonly Candidate[]): void =>
    writeCopy(table, encodePrelinked(all.map(({ program }) => program)), mode);
  writeTable(candidates);
  writeCopy(join(folder, 'prelink.misses'), new Uint8Array(), mode);
  const good = candidates.filter(({ closure, program, places }) => {
    const reason = whyNotStarted(closure, folder, places);
    if (reason === undefined) return true;
    stayed.push({ path: program.path, reason });
    for (const { file } of places) rmSync(join(folder, file));
    return false;
  });
  if (good.length < candidates.length) {
    rmSync(table);
    writeTable(good);
  }
  // What the trial starts noted.
  truncateSync(join(folder, 'prelink.misses'));
  return { programs: good.map(({ program }) => program), kept: stayed };
}

/** Where the kernel puts nothing by itself, whatever the limit of the stack (place/addresses.ts). */
function randomBase(): number {
  const places = Math.floor((PROGRAM_RANGE.to - PROGRAM_RANGE.from) / HUGE_PAGE / 2);
  return PROGRAM_RANGE.from + randomInt(places) * HUGE_PAGE;
}

interface Work extends PrelinkBuildOptions {
  readonly from: number;
  readonly mode: number;
}

/** A program with copies that its loader has not tried yet. */
interface Candidate {
  readonly closure: Closure;
  readonly program: BuiltProgram;
  readonly places: readonly Copied[];
}

type Prelinked =
  | ({ readonly kind: 'built' } & Candidate)
  | { readonly kind: 'kept'; readonly program: KeptProgram };

const keep = (path: string, reason: string, detail?: string): Prelinked => ({
  kind: 'kept',
  program: { path, reason, ...(detail === undefined ? {} : { detail }) },
});

function prelinkProgram(path: string, index: number, work: Work): Prelinked {
  let closure: Closure | NotDynamic;
  let done: PrelinkedClosure;
  let stamps: readonly FileStamp[];
  try {
    closure = readClosure(path, loaderEnvironment());
    if ('kind' in closure) return keep(path, closure.reason);
    stamps = closure.modules.map((module) => stampOf(module.path));
    const reason = whyNot(closure);
    if (reason !== undefined) return keep(path, ...reason);
    const addresses = { how: 'side by side', from: work.from } as const;
    done = prelinkClosure(closure, { relocations: 'applied', addresses });
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    return keep(path, `cannot be prelinked: ${error.code}`, error.what);
  }
  if (done.modules.length === 0)
    return keep(path, 'none of its libraries can be prelinked', done.kept.at(-1)?.reason);
  const named = done.modules.map((one): Named => ({ ...one, file: copyName(index, one.module) }));
  for (const { file, bytes } of named) writeCopy(join(work.folder, file), bytes, work.mode);
  const changed = closure.modules.find((module, at) => !isSame(stampOf(module.path), stamps[at]));
  if (changed !== undefined) return keep(path, 'a file has changed while the image was built', changed.path);
  const places = named.map(({ file, module, base }) => ({ file, at: base + pagesOf(module.image).first }));
  return { kind: 'built', closure, program: describe(closure, done, named, stamps), places };
}

/** Of what an environment says, only what does not speak to the loader: programs that are spoken to start plainly. */
function loaderEnvironment(): Record<string, string | undefined> {
  const all = Object.entries(process.env);
  return Object.fromEntries(all.filter(([name]) => !name.startsWith('LD_') && name !== 'GLIBC_TUNABLES'));
}

/** Of what the copies could not be shown to the program. */
function whyNot({ program, modules }: Closure): [reason: string, detail?: string] | undefined {
  const { mode } = statSync(program);
  if ((mode & SET_ID) !== 0 || hasFileCapabilities(program)) return ['gives its rights to who runs it'];
  const loader = modules.find(({ role }) => role === 'loader');
  if (loader === undefined || linkedAt(loader.image) === undefined)
    return ['its dynamic loader is not glibc’s'];
  const libraries = modules.filter(({ role }) => role === 'library');
  if (libraries.length > PRELINK_MODULES_MAX) return ['has too many libraries'];
  // The loader would take the answer for the library's name.
  const byPath = libraries.find(({ name }) => name.includes('/'));
  if (byPath !== undefined) return ['a library is asked for by a path', byPath.name];
  const filters = modules.find(({ image }) => image.dynamic.entries.some(({ tag }) => FILTERS.includes(tag)));
  if (filters !== undefined)
    return ['a library stands in for another one (DT_FILTER, DT_AUXILIARY)', filters.path];
  if (needsMuchStorage(modules)) return ['its libraries need much static thread-local storage'];
  const sanitizer = findSanitizer(modules.map(({ path }) => path));
  if (sanitizer !== undefined) return ['a sanitizer allows it no memory at other addresses', sanitizer];
  return undefined;
}

interface Named extends PrelinkedModule {
  readonly file: string;
}

function describe(
  closure: Closure,
  { kept }: PrelinkedClosure,
  named: readonly Named[],
  stamps: readonly FileStamp[],
): BuiltProgram {
  const byModule = new Map(named.map((one) => [one.module, one]));
  const sum = (of: (one: Named) => number): number => named.reduce((total, one) => total + of(one), 0);
  const stayed = kept.filter(({ module }) => module.role === 'library');
  const reasons = named.flatMap(({ reasons: all }) => [...all]);
  const left = [...new Set(reasons.map(([reason]) => reason))].map((reason) => ({
    reason,
    count: reasons.reduce((total, [other, count]) => total + (other === reason ? count : 0), 0),
  }));
  return {
    path: closure.program,
    ...stampAt(stamps, 0),
    area: areaOf(named),
    modules: closure.modules.flatMap((module, at): PrelinkedEntry[] =>
      module.role === 'library'
        ? [{ path: module.path, ...stampAt(stamps, at), copy: copyOf(byModule.get(module)) }]
        : [],
    ),
    figures: {
      prelinked: named.length,
      kept: stayed.length,
      applied: sum(({ applied }) => applied),
      left: sum((one) => one.left),
      leftPages: sum(({ leftPages }) => leftPages),
      bytes: sum(({ bytes }) => bytes.length),
    },
    left: left.sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1)),
    keptModules: stayed.map(({ module, reason }) => ({ path: module.path, reason })),
  };
}

function copyOf(one: Named | undefined): PrelinkedEntry['copy'] {
  if (one === undefined) return undefined;
  const dynamic = one.module.image.segments.find(({ type }) => type === spec.PT_DYNAMIC);
  return { file: one.file, size: one.bytes.length, dynamic: one.base + (dynamic?.rva ?? 0) };
}

/** With the room that the loader asks for where it aligns. */
function areaOf(named: readonly Named[]): BuiltProgram['area'] {
  const starts = named.map(({ module, base }) => base + pagesOf(module.image).first);
  const ends = named.map(({ module: { image }, base }) => {
    const align = alignOf(image);
    return base + pagesOf(image).end + (align > PAGE_SIZE ? 2 * align : 0);
  });
  const start = Math.min(...starts);
  return { start, size: Math.max(...ends) - start };
}

/** `prelink-00-017-libgtk-3.so.0`: unique in the folder, and readable in a process's memory map. */
function copyName(program: number, { index, name }: ClosureModule): string {
  const number = `prelink-${String(program).padStart(2, '0')}-${String(index).padStart(3, '0')}`;
  const full = `${number}-${basename(name)}`;
  return Buffer.byteLength(full) > MOST_NAME ? number : full;
}

function stampOf(path: string): FileStamp {
  const { size, mtimeNs, ino } = statSync(path, { bigint: true });
  return { size: Number(size), mtimeNs, inode: ino };
}

function stampAt(stamps: readonly FileStamp[], index: number): FileStamp {
  const stamp = stamps[index];
  if (stamp === undefined) throw new RangeError('no such module');
  return stamp;
}

const isSame = (one: FileStamp, other: FileStamp | undefined): boolean =>
  one.size === other?.size && one.mtimeNs === other.mtimeNs && one.inode === other.inode;
