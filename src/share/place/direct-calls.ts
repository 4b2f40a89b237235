/**
 * Variant `direct`: stubs of the PLT in the image jump straight to the function (prelink/direct-stubs.ts).
 *
 * Problem. Code is copied into a joined image anyway, and still each call to another library reads its target from a table.
 * Method. A stub may be changed where the word that it jumps through was bound when the program was linked, and is
 * read-only since: it stands on a page of the image that is not writable, and leads to a known place. What is bound lazily stands on
 * writable pages, and stays; so does what leads into the vDSO, which each start writes.
 * Limits. As those of the stubs; the loader's own stay.
 */
import { readFileSync } from 'node:fs';
import { PAGE_SIZE, pagesIn } from '../../base/brands.ts';
import { readElf } from '../../elf/read.ts';
import { PT_LOAD } from '../../elf/spec.ts';
import { ANCHORS, type LinkedState } from '../model.ts';
import { directStubs } from '../prelink/direct-stubs.ts';
import type { Bases } from './addresses.ts';
import type { ReadRange } from './place-maps.ts';

export interface DirectCalls {
  /** Pages of libraries with changed stubs; of others what `read` gave. */
  readonly read: ReadRange;
  /** Stubs that jump directly, and those that lead too far. */
  readonly direct: number;
  readonly far: number;
}

/** @throws WinnowError where a library is no ELF file. */
export function directCalls(state: LinkedState, bases: Bases, read: ReadRange): DirectCalls {
  const words = boundWords(state, bases);
  const changed = new Map<number, Buffer>();
  let direct = 0;
  let far = 0;
  state.files.forEach(({ path, role }, index) => {
    if (role !== 'library') return;
    const bytes = readFileSync(path);
    const base = arenaOffsetOf(state, index, bytes, path);
    if (base === undefined) return;
    const targets = { get: (rva: number): bigint | undefined => words.get(base + rva) };
    const stubs = directStubs(readElf(Buffer.from(bytes), path), bytes, bases.arena + base, targets);
    direct += stubs.direct;
    far += stubs.far;
    if (stubs.direct > 0) changed.set(index, padded(bytes));
  });
  return {
    direct,
    far,
    read: (range, size) => {
      const bytes = changed.get(range.file);
      if (bytes === undefined) return read(range, size);
      return range.offset + size > bytes.length
        ? undefined
        : bytes.subarray(range.offset, range.offset + size);
    },
  };
}

const padded = (bytes: Buffer): Buffer =>
  Buffer.concat([bytes, Buffer.alloc(pagesIn(bytes.length) * PAGE_SIZE - bytes.length)]);

/** Offset from the arena's base of a library's RVA 0. */
function arenaOffsetOf(
  { mappings }: LinkedState,
  file: number,
  bytes: Buffer,
  path: string,
): number | undefined {
  const first = mappings.find(({ place, source }) => place.anchor === 'arena' && source?.file === file);
  const offset = first?.source?.offset;
  const lowest = readElf(bytes, path).segments.find(({ type }) => type === PT_LOAD);
  if (first === undefined || offset === undefined || lowest === undefined) return undefined;
  const start = (at: number): number => at - (at % PAGE_SIZE);
  return offset === start(lowest.offset) ? first.place.offset - start(lowest.rva) : undefined;
}

/** Addresses in words of read-only pages of the arena, by their offset from its base. */
function boundWords({ mappings, pointers }: LinkedState, bases: Bases): ReadonlyMap<number, bigint> {
  const pages = new Map<number, Buffer>();
  for (const { place, protection, dirty } of mappings) {
    if (place.anchor !== 'arena' || protection.write) continue;
    for (const page of dirty) pages.set((place.offset + page.offset) / PAGE_SIZE, page.bytes);
  }
  const words = new Map<number, bigint>();
  for (const { standsIn, at, into } of pointers) {
    if (standsIn !== 'arena') continue;
    at.forEach((offset, index) => {
      const anchor = ANCHORS[into[index] ?? -1];
      const inside = offset % PAGE_SIZE;
      const page = pages.get(Math.floor(offset / PAGE_SIZE));
      if (anchor === undefined || anchor === 'vdso' || page === undefined || inside + 8 > PAGE_SIZE) return;
      words.set(offset, BigInt.asUintN(64, page.readBigUInt64LE(inside) + BigInt(bases[anchor])));
    });
  }
  return words;
}
