/**
 * The log that inside.so writes (runtime/inside-log.c): read once, when the program has ended.
 *
 * Entries stand in chunks, in about the order of the calls; their numbers are the order over all processes.
 */
import { type Address, address, type Pid, pid } from '../base/brands.ts';
import * as layout from './inside-layout.ts';

/** [from, to) of the file that entry `opened` opened. */
export interface ReadPiece {
  readonly opened: number;
  readonly from: number;
  readonly to: number;
}

export type InsideEntry = {
  readonly sequence: number;
  /** As the process calls itself: in a PID namespace of its own another than ours. */
  readonly process: Pid;
} & (
  | {
      readonly kind: 'started';
      readonly vdso: Address;
      readonly folder: string;
      readonly program: string;
      readonly libraryPath: string | undefined;
      readonly argv: readonly string[];
    }
  | { readonly kind: 'forked'; readonly vdso: Address; readonly parent: Pid }
  | {
      readonly kind: 'call';
      readonly nr: number;
      readonly result: number;
      readonly folder: number;
      readonly flags: number;
      readonly path: string;
      readonly byLoader: boolean;
    }
  | { readonly kind: 'exec'; readonly path: string }
  /** Descriptor `to` is what `from` is. */
  | { readonly kind: 'duplicated'; readonly from: number; readonly to: number }
  | { readonly kind: 'held'; readonly path: string }
  | { readonly kind: 'piece'; readonly piece: ReadPiece }
  | { readonly kind: 'table'; readonly pieces: readonly ReadPiece[] }
  | { readonly kind: 'unseen'; readonly why: number }
  /** Pieces of what /proc/self/maps and PAGEMAP_SCAN said; a `seen` ends them. */
  | { readonly kind: 'maps'; readonly look: number; readonly text: Buffer }
  | { readonly kind: 'pages'; readonly look: number; readonly regions: Buffer }
  | {
      readonly kind: 'seen';
      readonly call: 'exec' | 'exit' | 'look';
      /** The memory is the parent's: of a child of vfork. */
      readonly borrowed: boolean;
      /** Who looked: of a child of vfork, the child. */
      readonly looking: Pid;
      readonly parent: Pid;
      /** The number that its pieces have. */
      readonly look: number;
      readonly status: number;
      /** Nanoseconds of the monotonic clock. */
      readonly time: number;
    }
);

export interface InsideLog {
  /** In the order of the calls. */
  readonly entries: readonly InsideEntry[];
  /** Entries for which there was no room. */
  readonly lost: number;
}

/** A log without entries, before anything runs. */
export function emptyLog(): Buffer {
  const header = Buffer.alloc(layout.INSIDE_CHUNK);
  header.writeBigUInt64LE(layout.INSIDE_MAGIC, layout.HEADER.magic);
  header.writeUInt32LE(layout.INSIDE_VERSION, layout.HEADER.version);
  header.writeUInt32LE(1, layout.HEADER.chunk);
  header.writeBigUInt64LE(1n, layout.HEADER.sequence);
  return header;
}

export function readInsideLog(log: Buffer): InsideLog {
  const entries: InsideEntry[] = [];
  for (let at = layout.INSIDE_CHUNK; at < log.length; at += layout.INSIDE_CHUNK) {
    readChunk(log.subarray(at, at + layout.INSIDE_CHUNK), entries);
  }
  entries.sort((a, b) => a.sequence - b.sequence);
  return { entries, lost: log.length < layout.HEADER.size ? 0 : log.readUInt32LE(layout.HEADER.lost) };
}

function readChunk(chunk: Buffer, into: InsideEntry[]): void {
  if (chunk.length < layout.CHUNK.size) return;
  const end = Math.min(chunk.length, layout.CHUNK.size + chunk.readUInt32LE(layout.CHUNK.used));
  for (let at: number = layout.CHUNK.size; at + layout.ENTRY.size <= end; ) {
    const size = chunk.readUInt32LE(at + layout.ENTRY.entry_size);
    const kind = (chunk.readUInt32LE(at + layout.ENTRY.kind) ^ layout.ENTRY_MARK) >>> 0;
    const isWhole = kind <= layout.ENTRY_DUPLICATED && size >= layout.ENTRY.size && at + size <= end;
    // Its process died while it was written.
    if (!isWhole) {
      at += 8;
      continue;
    }
    const entry = entryOf(chunk.subarray(at, at + size), kind);
    if (entry !== undefined) into.push(entry);
    at += size;
  }
}

function entryOf(bytes: Buffer, kind: number): InsideEntry | undefined {
  const number = (field: number): number => Number(bytes.readBigInt64LE(field));
  const { ENTRY } = layout;
  const length = Math.min(bytes.readUInt32LE(ENTRY.length), bytes.length - ENTRY.size);
  const path = bytes.toString('utf8', ENTRY.size, ENTRY.size + length);
  const from = { sequence: number(ENTRY.sequence), process: pid(bytes.readUInt32LE(ENTRY.process)) };
  const [result, first, second] = [number(ENTRY.result), number(ENTRY.first), number(ENTRY.second)];
  const look = result === 0 ? from.sequence : result;
  switch (kind) {
    case layout.ENTRY_STARTED:
      return {
        ...from,
        kind: 'started',
        vdso: address(bytes.readBigUInt64LE(ENTRY.first)),
        ...wordsIn(path),
      };
    case layout.ENTRY_FORKED:
      return {
        ...from,
        kind: 'forked',
        vdso: address(bytes.readBigUInt64LE(ENTRY.first)),
        parent: pid(second),
      };
    case layout.ENTRY_CALL:
      return {
        ...from,
        kind: 'call',
        nr: bytes.readUInt32LE(ENTRY.call),
        result,
        folder: bytes.readInt32LE(ENTRY.first),
        flags: bytes.readUInt32LE(ENTRY.second),
        path,
        byLoader: bytes.readUInt32LE(ENTRY.by_loader) !== 0,
      };
    case layout.ENTRY_EXEC:
      return { ...from, kind: 'exec', path };
    case layout.ENTRY_DUPLICATED:
      return { ...from, kind: 'duplicated', from: bytes.readInt32LE(ENTRY.first), to: result };
    case layout.ENTRY_HELD:
      return { ...from, kind: 'held', path };
    case layout.ENTRY_PIECE:
      return { ...from, kind: 'piece', piece: { opened: result, from: first, to: second } };
    case layout.ENTRY_TABLE:
      return { ...from, kind: 'table', pieces: piecesIn(bytes.subarray(ENTRY.size)) };
    case layout.ENTRY_UNSEEN:
      return { ...from, kind: 'unseen', why: first };
    case layout.ENTRY_MAPS:
      return { ...from, kind: 'maps', look, text: bytes.subarray(ENTRY.size, ENTRY.size + length) };
    case layout.ENTRY_PAGES:
      return { ...from, kind: 'pages', look, regions: bytes.subarray(ENTRY.size, ENTRY.size + length) };
    case layout.ENTRY_SEEN: {
      const what = bytes.readUInt32LE(ENTRY.call);
      return {
        ...from,
        kind: 'seen',
        call: what === layout.SEEN_EXIT ? 'exit' : what === layout.SEEN_LOOK ? 'look' : 'exec',
        borrowed: what === layout.SEEN_EXEC_BORROWED,
        looking: pid(result),
        parent: pid(bytes.readUInt32LE(ENTRY.by_loader)),
        look: Math.floor(first / 256),
        status: first % 256,
        time: second,
      };
    }
    default:
      return undefined;
  }
}

/** What a program says of itself when it starts; LD_LIBRARY_PATH with its `=`, if it is set. */
function wordsIn(
  text: string,
): Omit<InsideEntry & { readonly kind: 'started' }, 'sequence' | 'process' | 'kind' | 'vdso'> {
  const [folder = '', program = '', libraryPath = '', ...argv] = text.replace(/\0$/, '').split('\0');
  return { folder, program, libraryPath: libraryPath === '' ? undefined : libraryPath.slice(1), argv };
}

/** What was read of descriptors that were never closed. */
function piecesIn(table: Buffer): ReadPiece[] {
  const pieces: ReadPiece[] = [];
  for (let at = 0; at + layout.READING.size <= table.length; at += layout.READING.size) {
    const opened = Number(table.readBigUInt64LE(at + layout.READING.opened));
    if (opened === 0) continue;
    const from = Number(table.readBigUInt64LE(at + layout.READING.from));
    const to = Number(table.readBigUInt64LE(at + layout.READING.at));
    if (to > from) pieces.push({ opened, from, to });
  }
  return pieces;
}
