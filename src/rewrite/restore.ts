/**
 * The way back: a rewritten module carries what it overwrote, so that the original can be had from it alone.
 *
 * Problem: an image outlives its originals (a package is upgraded, a file is moved), and a module that is
 * rewritten twice would carry two layers of copies.
 * Example: a library of 2 MB with 3000 changed fields of 4 bytes carries a record of some 10 KB.
 * Method: the file and its original are compared; each run of bytes that differ is kept as (bytes skipped,
 * length, original bytes), deflated. The record stands at the end of the file, before a trailer of
 * 32 bytes: magic, format, size of the record, size and CRC-32 of the original.
 * Limits: a tool that writes the file anew (strip, patchelf) drops the record or makes it wrong; the checksum
 * tells.
 */
import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib';
import { PAGE_SIZE } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import { viewOf } from '../elf/bytes.ts';
import { EHDR_SIZE } from '../elf/spec.ts';

const MAGIC = Buffer.from('WinnowUn', 'latin1');
const FORMAT = 1;
const TRAILER_SIZE = 32;
/** Runs with fewer equal bytes between them are kept as one: a run of its own would take as many. */
const CLOSE = 4;
/** Bytes of a number below 2^53. */
const MOST_VARINT = 8;

/** Whether the file is one that `rewriteModule` made. */
export function isRewritten(bytes: Uint8Array): boolean {
  const at = bytes.length - TRAILER_SIZE;
  return at >= EHDR_SIZE && MAGIC.equals(bytes.subarray(at, at + MAGIC.length));
}

/**
 * The record that leads from `changed` back to `original`. The ELF header counts as changed throughout, so
 * it may be completed afterwards.
 *
 * @param changed what the first `original.length` bytes of the new file are.
 */
export function recordChanges(original: Uint8Array, changed: Uint8Array): Uint8Array {
  const runs = changedRuns(original, changed);
  const content = runs.reduce((size, place, i) => size + (i % 2 === 0 ? -place : place), 0);
  const bytes = Buffer.allocUnsafe(content + runs.length * MOST_VARINT);
  let at = 0;
  let before = 0;
  for (let i = 0; i < runs.length; i += 2) {
    const start = runs[i] ?? 0;
    const end = runs[i + 1] ?? 0;
    at = putVarint(bytes, at, start - before);
    at = putVarint(bytes, at, end - start);
    bytes.set(original.subarray(start, end), at);
    at += end - start;
    before = end;
  }
  const record = deflateRawSync(bytes.subarray(0, at));
  const trailer = Buffer.alloc(TRAILER_SIZE);
  MAGIC.copy(trailer);
  trailer.writeUInt32LE(FORMAT, 8);
  trailer.writeUInt32LE(record.length, 12);
  trailer.writeBigUInt64LE(BigInt(original.length), 16);
  trailer.writeUInt32LE(crc32(original), 24);
  return Buffer.concat([record, trailer]);
}

/**
 * The original bytes of a rewritten module.
 *
 * @throws WinnowError E_NOT_REWRITTEN; E_UNDO_DAMAGED where what comes out is not the original;
 *   E_UNDO_NEWER.
 */
export function restoreModule(bytes: Uint8Array, path = ''): Uint8Array {
  const fail = (code: string, what: string, next: string): never => {
    const kind = code === 'E_UNDO_NEWER' ? 'unsupported' : 'input';
    throw new WinnowError({ code, kind, what, next, ...(path === '' ? {} : { where: path }) });
  };
  if (!isRewritten(bytes)) fail('E_NOT_REWRITTEN', 'this is no file that winnow has rewritten', 'name one');
  const damaged = (what: string): never =>
    fail('E_UNDO_DAMAGED', what, 'was the file changed by another tool? Build the image again');
  const at = bytes.length - TRAILER_SIZE;
  const view = viewOf(bytes);
  const format = view.getUint32(at + 8, true);
  if (format !== FORMAT) {
    fail('E_UNDO_NEWER', `its record of changes has format ${format}`, 'use the winnow that rewrote it');
  }
  const recordSize = view.getUint32(at + 12, true);
  const size = Number(view.getBigUint64(at + 16, true));
  if (recordSize > at || size > at - recordSize) damaged('its record of changes does not fit the file');
  const original = Uint8Array.prototype.slice.call(bytes, 0, size);
  if (!putBack(original, inflated(bytes.subarray(at - recordSize, at), size))) {
    damaged('its record of changes cannot be read');
  }
  if (crc32(original) !== view.getUint32(at + 24, true))
    damaged('what its record leads to is not the original');
  return original;
}

function inflated(record: Uint8Array, size: number): Uint8Array | undefined {
  try {
    // Every changed byte can have a run of its own, with two numbers.
    return inflateRawSync(record, { maxOutputLength: (2 * MOST_VARINT + 1) * size + 1 });
  } catch {
    return undefined;
  }
}

function putBack(into: Uint8Array, runs: Uint8Array | undefined): boolean {
  if (runs === undefined) return false;
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = runs[at++];
      if (byte === undefined || factor > 2 ** 46) return Number.NaN;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  for (let place = 0; at < runs.length; ) {
    place += next();
    const length = next();
    if (!(place + length <= into.length && at + length <= runs.length)) return false;
    into.set(runs.subarray(at, at + length), place);
    at += length;
    place += length;
  }
  return true;
}

/** Start and end of each run of bytes that differ, in turns. */
function changedRuns(original: Uint8Array, changed: Uint8Array): number[] {
  const runs: number[] = [0, Math.min(EHDR_SIZE, original.length)];
  const a = Buffer.from(original.buffer, original.byteOffset, original.length);
  const b = Buffer.from(changed.buffer, changed.byteOffset, original.length);
  for (let page = 0; page < original.length; page += PAGE_SIZE) {
    const end = Math.min(page + PAGE_SIZE, original.length);
    if (a.compare(b, page, end, page, end) === 0) continue;
    for (let at = Math.max(page, EHDR_SIZE); at < end; at++) {
      if (a[at] === b[at]) continue;
      const last = runs[runs.length - 1] ?? 0;
      if (at - last <= CLOSE) runs[runs.length - 1] = at + 1;
      else runs.push(at, at + 1);
    }
  }
  return runs;
}

/** Writes seven bits a byte, the lowest first; returns the place behind. */
function putVarint(bytes: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 128;
  bytes[at++] = rest;
  return at;
}
