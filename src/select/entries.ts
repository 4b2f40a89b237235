/**
 * Where to break in a file: the places where control comes into its units from outside.
 *
 * They follow from the analysis, but reading that means to hash the whole module and to go through all of its
 * references, which for a program with 200 libraries takes longer than the program. So the places are kept beside the
 * analyses, under the file's stat. A file that is changed in place gets another time of change (ctime), which
 * nobody can set; one that was changed within the last seconds is not kept, as a further change could bear the same time.
 *
 *     winnow-entries 2 <version of the analysis> <sha256 of what follows the line>\n, padded to 128 bytes
 *     how many there are, and the RVAs, ascending, 32 bits each, little-endian; then a byte for each, 1 where it leads
 *     into the same code as the one before; or NO_ENTRIES and, in UTF-8, why there are none
 */
import { createHash } from 'node:crypto';
import { type BigIntStats, fstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../base/errors.ts';
import { readBuildId } from '../elf/build-id.ts';
import { readElf } from '../elf/read.ts';
import { makeFolder, readTrusted, replaceCached, trustedFolder } from '../profile/store-files.ts';
import { analyseModule, breakpointPlaces } from '../rewrite/analyse.ts';
import { AnalysisCache } from '../rewrite/analysis-cache.ts';
import { ANALYSIS_VERSION } from '../rewrite/analysis-codec.ts';
import type { Analyst } from '../rewrite/analyst.ts';
import type { BreakpointPlaces, Kept } from '../rewrite/model.ts';
import type { Fd } from '../sys/fds.ts';

export type Entries = BreakpointPlaces | Kept;

const HEAD_BYTES = 128;
const NO_ENTRIES = 0xffff_ffff;
/** Longer than any clock of a file system stands still. */
const SETTLED_MS = 2000;
/** The same within this process, where no file system's clock rounds what we saw: two ticks of the kernel's. */
const TICKS_MS = 20;

/** A file before it was read. */
export interface Before {
  readonly stat: BigIntStats;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export class EntryFinder {
  readonly #dir: string | undefined;
  readonly #analyses: AnalysisCache | undefined;
  readonly #found = new Map<string, Entries>();

  /** @param dir folder of the cache of analyses; without it nothing is kept longer than this object. */
  constructor(dir: string | undefined) {
    this.#dir = dir;
    this.#analyses = dir === undefined ? undefined : AnalysisCache.open(dir);
  }

  /**
   * What is known of an open file, or what analysis finds, which is then kept.
   *
   * @param analyst does the work while this thread waits, where there is one.
   * @throws WinnowError E_ELF_...
   */
  find(path: string, fd: Fd, analyst?: Analyst): Entries {
    const known = this.known(fd);
    if (known !== undefined) return known;
    const before = { stat: fstatSync(fd, { bigint: true }), at: Date.now() };
    return this.keep(fd, before, analyst?.ask({ fd, path }) ?? this.#analyse(path, fd));
  }

  #analyse(path: string, fd: Fd): Entries {
    const image = readElf(readFileSync(fd), path);
    const analysis = this.#analyses?.analyse(image) ?? analyseModule(image);
    return 'kind' in analysis ? analysis : breakpointPlaces(analysis);
  }

  known(fd: Fd): Entries | undefined {
    const key = keyOf(fstatSync(fd, { bigint: true }), fd);
    return (
      this.#found.get(key) ??
      this.#attempt((dir) => {
        if (trustedFolder(dir) === undefined) return undefined;
        const bytes = readTrusted(join(dir, key));
        return bytes === undefined ? undefined : decode(bytes);
      })
    );
  }

  /** The entries of a file that was analysed are kept if it is still what it was before it was read. */
  keep(fd: Fd, before: Before, entries: Entries): Entries {
    const key = keyOf(before.stat, fd);
    const age = before.at - Number(before.stat.ctimeMs);
    if (age < TICKS_MS || key !== keyOf(fstatSync(fd, { bigint: true }), fd)) return entries;
    this.#found.set(key, entries);
    if (age < SETTLED_MS) return entries;
    this.#attempt((dir) => {
      makeFolder(dir, 0o700);
      replaceCached(join(dir, key), ...encode(entries));
    });
    return entries;
  }

  /** A cache that cannot be used is one more reason to find out anew, and no other. */
  #attempt<T>(work: (dir: string) => T): T | undefined {
    try {
      return this.#dir === undefined ? undefined : work(this.#dir);
    } catch (error) {
      if (error instanceof WinnowError) return undefined;
      throw error;
    }
  }
}

/** The name of a file of the cache. */
function keyOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats, fd: Fd): string {
  const key = [dev, ino, size, mtimeNs, ctimeNs, readBuildId(fd, Number(size)) ?? ''].join(' ');
  return `${createHash('sha256').update(key).digest('hex')}.entries`;
}

function encode(entries: Entries): Uint8Array[] {
  const payload = 'kind' in entries ? encodeKept(entries) : encodePlaces(entries);
  return [headOf(payload), payload];
}

const encodeKept = ({ reason }: Kept): Uint8Array =>
  Buffer.concat([bytesOf(Uint32Array.of(NO_ENTRIES)), Buffer.from(reason)]);

const encodePlaces = ({ at, follows }: BreakpointPlaces): Uint8Array =>
  Buffer.concat([bytesOf(Uint32Array.of(at.length)), bytesOf(at), follows]);

const bytesOf = (words: Uint32Array): Uint8Array =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

function headOf(payload: Uint8Array): Uint8Array {
  const checksum = createHash('sha256').update(payload).digest('hex');
  return Buffer.from(`${`winnow-entries 2 ${ANALYSIS_VERSION} ${checksum}`.padEnd(HEAD_BYTES - 1)}\n`);
}

/** The head holds versions and checksum, so comparing it checks everything. */
function decode(bytes: Uint8Array): Entries | undefined {
  // A copy: words must be aligned.
  const payload = new Uint8Array(bytes.subarray(HEAD_BYTES));
  if (Buffer.compare(bytes.subarray(0, HEAD_BYTES), headOf(payload)) !== 0) return undefined;
  if (payload.length < 4) return undefined;
  const count = new DataView(payload.buffer).getUint32(0, true);
  if (count === NO_ENTRIES) return { kind: 'kept', reason: Buffer.from(payload.subarray(4)).toString() };
  if (payload.length !== 4 + 5 * count) return undefined;
  return { at: new Uint32Array(payload.buffer, 4, count), follows: payload.subarray(4 + 4 * count) };
}
