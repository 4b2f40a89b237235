/**
 * What the watcher saw at one trapped call, read from its chunks (`runtime/watcher.c` says how they are
 * written).
 */
import { type Pid, pid } from '../base/brands.ts';
import { type Mapping, parseMaps } from '../sys/maps.ts';
import { type AddressRange, regionsOf } from '../sys/pagemap.ts';
import { SYS } from './filter.ts';
import { libraryPathOf, wordsOf } from './proc.ts';

const SEEN = 1;
const PROGRAM = 2;
const WORDS = 3;
const MAPS = 4;
const PAGES = 5;
const DONE = 6;
const ENVIRONMENT = 7;
const GIVEN_UP = 8;
const HEAD = 8;
const SEEN_BYTES = 32;

export interface Sighting {
  /** An exec may still fail; an exit is one of the whole process, a kill its end by a signal; a look is asked for before files are unmapped. */
  readonly call: 'exec' | 'exit' | 'look' | 'kill';
  /** Nanoseconds of the monotonic clock. */
  readonly time: number;
  readonly process: Pid;
  readonly parent: Pid;
  /** Exit code, of a kill the signal; else 0. */
  readonly status: number;
  /** The memory is the parent's (vfork): there are no mappings then. */
  readonly borrowed: boolean;
  /** Absolute path of the executable; empty where it could not be seen. */
  readonly program: string;
  readonly argv: readonly string[];
  readonly libraryPath: string | undefined;
  readonly mappings: readonly Mapping[];
  /** Ascending. */
  readonly backed: readonly AddressRange[];
}

const CALLS: ReadonlyMap<number, Sighting['call']> = new Map([
  [SYS.exitGroup, 'exit'],
  [SYS.kill, 'kill'],
]);

/** Puts chunks together, however they are cut by the pipe. */
export class SightingReader {
  #rest: Buffer = Buffer.alloc(0);
  /** Processes whose pages are rounded up: there were too many at a time. */
  readonly givenUp = new Set<Pid>();
  #parts: { readonly kind: number; readonly bytes: Buffer }[] = [];
  readonly #take: (sighting: Sighting) => void;

  constructor(take: (sighting: Sighting) => void) {
    this.#take = take;
  }

  /** `bytes` may be used again by the caller. */
  add(bytes: Buffer): void {
    const all = Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (at + HEAD <= all.length) {
      const end = at + HEAD + all.readUInt32LE(at + 4);
      if (end > all.length) break;
      this.#addChunk(all.readUInt32LE(at), all.subarray(at + HEAD, end));
      at = end;
    }
    this.#rest = all.subarray(at);
  }

  #addChunk(kind: number, bytes: Buffer): void {
    if (kind === GIVEN_UP) {
      this.givenUp.add(pid(bytes.readUInt32LE(0)));
      return;
    }
    if (kind !== DONE) {
      this.#parts.push({ kind, bytes });
      return;
    }
    const sighting = this.#assemble();
    this.#parts = [];
    if (sighting !== undefined) this.#take(sighting);
  }

  #bytes(wanted: number): Buffer {
    return Buffer.concat(this.#parts.filter(({ kind }) => kind === wanted).map(({ bytes }) => bytes));
  }

  #assemble(): Sighting | undefined {
    const seen = this.#bytes(SEEN);
    if (seen.length < SEEN_BYTES) return undefined;
    return {
      call: CALLS.get(seen.readUInt32LE(0)) ?? 'exec',
      time: Number(seen.readBigUInt64LE(24)),
      process: pid(seen.readUInt32LE(8)),
      parent: pid(seen.readUInt32LE(12)),
      status: seen.readUInt32LE(16),
      borrowed: seen.readUInt32LE(20) !== 0,
      program: this.#bytes(PROGRAM)
        .toString('utf8')
        .replace(/ \(deleted\)$/, ''),
      argv: wordsOf(this.#bytes(WORDS).toString('utf8')),
      libraryPath: libraryPathOf(this.#bytes(ENVIRONMENT).toString('utf8')),
      mappings: parseMaps(this.#bytes(MAPS).toString('utf8')),
      backed: regionsOf(this.#bytes(PAGES)),
    };
  }
}
