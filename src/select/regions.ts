/**
 * Where the code of files with breakpoints lies in one memory: addresses to files and back.
 *
 * A memory is mostly the state of one process. A fork copies it, breakpoints and all; programs that share a
 * memory (vfork, CLONE_VM) share its state.
 */
import { PAGE_SIZE, userAddress } from '../base/brands.ts';
import type { AddressRange } from '../sys/pagemap.ts';
import type { CodeFile } from './code-file.ts';

export interface Region extends AddressRange {
  readonly code: CodeFile;
  /** Address of the file's RVA 0 here. */
  readonly bias: number;
  /** By breakpoint: NOT_MET, MET or MET_BEFORE. Pieces of one mapping share it. */
  readonly hit: Uint8Array;
}

export const NOT_MET = 0;
/** In this memory. */
export const MET = 1;
/** In the memory that this one is a copy of, perhaps since the copy was made. */
export const MET_BEFORE = 2;

const EVERYWHERE: AddressRange = {
  start: userAddress(0),
  end: userAddress(Number.MAX_SAFE_INTEGER),
};
const NO_HITS = new Uint8Array(0);

export class Regions {
  /** Process images that run in this memory. */
  users = 0;
  /** All breakpoints have been taken back for good. */
  isClean = false;
  /** Ascending, not overlapping. */
  #list: readonly Region[];

  constructor(list: readonly Region[] = []) {
    this.#list = list;
  }

  [Symbol.iterator](): Iterator<Region> {
    return this.#list[Symbol.iterator]();
  }

  /** What a fork's child has. */
  copy(): Regions {
    const hits = new Map<Uint8Array, Uint8Array>();
    const copyOf = ({ hit, code }: Region): Uint8Array => {
      const known = hits.get(hit);
      if (known !== undefined && hit !== NO_HITS) return known;
      const copy = new Uint8Array(code.count);
      copy.set(hit.map((met) => (met === NOT_MET ? NOT_MET : MET_BEFORE)));
      hits.set(hit, copy);
      return copy;
    };
    return new Regions(this.#list.map((region) => ({ ...region, hit: copyOf(region) })));
  }

  /** Where they lie is still wanted, as a child may ask for it late; what was met is not. */
  forgetHits(): void {
    this.#list = this.#list.map((region) => ({ ...region, hit: NO_HITS }));
  }

  add(region: Region): void {
    this.#list = [...without(this.#list, region), region].sort((a, b) => a.start - b.start);
  }

  /** Those that share addresses with a range. */
  within({ start, end }: AddressRange): readonly Region[] {
    return this.#list.filter((region) => region.start < end && region.end > start);
  }

  /** Nothing of `gone` is left in `range`; regions that came later stay. */
  remove(gone: readonly Region[], range: AddressRange): void {
    const stay = this.#list.filter((region) => !gone.includes(region));
    const pieces = without(
      this.#list.filter((region) => gone.includes(region)),
      range,
    );
    this.#list = [...stay, ...pieces].sort((a, b) => a.start - b.start);
  }

  find(at: number): Region | undefined {
    let low = 0;
    let high = this.#list.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const region = this.#list[middle];
      if (region === undefined) return undefined;
      if (at < region.start) high = middle - 1;
      else if (at >= region.end) low = middle + 1;
      else return region;
    }
    return undefined;
  }

  /**
   * The pages that are in memory because breakpoints were written there, and not because of a function
   * that was entered: each is taken to reach up to the next breakpoint. Ascending.
   *
   * @param range where to look; everywhere if it is left out.
   */
  writtenPages(range: AddressRange = EVERYWHERE): AddressRange[] {
    const found: AddressRange[] = [];
    for (const region of this.within(range)) {
      for (const { start, end } of region.code.runs) {
        const from = Math.max(range.start, region.start, region.bias + start);
        const to = Math.min(range.end, region.end, region.bias + end);
        for (let page = from; page < to; page += PAGE_SIZE) {
          if (!isEntered(region, page)) append(found, page, page + PAGE_SIZE);
        }
      }
    }
    return found;
  }
}

/** Whether a page holds a part of a function that was entered. */
function isEntered({ code, bias, hit }: Region, page: number): boolean {
  let index = code.indexFrom(page - bias);
  // The one before the page reaches into it, unless the page begins with one.
  if (code.placeOf(index) > page - bias && index > 0) index--;
  for (; code.placeOf(index) < page - bias + PAGE_SIZE; index++) {
    if (hit[index] === MET || hit[index] === MET_BEFORE) return true;
  }
  return false;
}

function append(ranges: AddressRange[], start: number, end: number): void {
  const last = ranges.at(-1);
  if (last === undefined || last.end !== start) {
    ranges.push({ start: userAddress(start), end: userAddress(end) });
  } else {
    ranges[ranges.length - 1] = { start: last.start, end: userAddress(end) };
  }
}

function without(regions: readonly Region[], { start, end }: AddressRange): Region[] {
  return regions.flatMap((region) => {
    if (region.end <= start || region.start >= end) return [region];
    const before = region.start < start ? [{ ...region, end: start }] : [];
    const behind = region.end > end ? [{ ...region, start: end }] : [];
    return [...before, ...behind];
  });
}
