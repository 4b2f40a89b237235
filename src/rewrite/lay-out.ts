/**
 * Where the copies and what goes with them come to lie.
 *
 * Problem: nothing of the original may move, and the dynamic loader and the kernel want segments in
 * ascending order. Copies should be packed, and hot loops should not lose their alignment.
 * Example: a library whose last segment ends in .bss at 0x5123 gets its copies from 0x6000 on.
 * Method: what is added follows .bss, from the next page on. A copy keeps its address modulo 16, as compilers
 * align functions and loops to that; modulo 32 or 64 where a loop has such an address. PLT stubs lie together.
 * In the file it stands at the distance from its addresses that the first segment has, if that costs no more
 * than a small gap. Then the program header table is where readers in memory look for it, at the ELF header
 * plus e_phoff (the dynamic loader for itself, kernels before 5.18 for AT_PHDR, crash reporters).
 * Limits: files whose .bss is larger than 1 MiB do without that.
 */
import { type FileOffset, fileOffset, PAGE_SIZE, type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { PT_LOAD } from '../elf/spec.ts';
import { LEAST_PHASE } from './code-fields.ts';
import type { Clone, CloneMap, Unit } from './model.ts';

/** `jmp rel32` */
export const JUMP_SIZE = 5;
/** The short stubs of .plt.got. */
const SHORT_STUB = 8;
const MOST_GAP_IN_FILE = 1 << 20;
const MOST_GAP_IN_MEMORY = 1 << 28;

export const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;

/** The first free page behind everything, in memory and in the file. */
export interface Room {
  readonly at: Rva;
  readonly offset: FileOffset;
}

export function findRoom(image: ElfImage): Room {
  const loads = image.segments.filter(({ type }) => type === PT_LOAD);
  const endInMemory = loads.reduce((end, segment) => Math.max(end, segment.rva + segment.memSize), 0);
  const endInFile = image.bytes.length;
  const first = loads[0];
  const bias = first === undefined ? 0 : first.rva - first.offset;
  const at = alignUp(Math.max(endInMemory, endInFile + bias), PAGE_SIZE);
  const keepsBias = at - bias - endInFile <= MOST_GAP_IN_FILE && at - endInMemory <= MOST_GAP_IN_MEMORY;
  if (keepsBias && bias % PAGE_SIZE === 0) return { at: rva(at), offset: fileOffset(at - bias) };
  return { at: rva(alignUp(endInMemory, PAGE_SIZE)), offset: fileOffset(alignUp(endInFile, PAGE_SIZE)) };
}

/**
 * The units with their places, from `at` on, in the order of the units but for PLT stubs: see above.
 *
 * @param at a page's start.
 * @param phases of each unit: the power of two modulo which its copy keeps its address; 16 where there is none.
 */
export function placeClones(
  units: readonly Unit[],
  at: Rva,
  canonical: CloneMap['canonical'],
  phases: ReadonlyMap<Unit, number>,
): PlacedClones {
  let next: number = at;
  const clones = withStubsTogether(units).map((unit) => {
    const length = unit.end - unit.start;
    const isShort = unit.kind === 'plt' && length <= SHORT_STUB;
    const phase = isShort ? SHORT_STUB : (phases.get(unit) ?? LEAST_PHASE);
    next += (((unit.start - next) % phase) + phase) % phase;
    const clone: Clone = { unit, at: rva(next), size: length + (unit.fallsThrough ? JUMP_SIZE : 0) };
    next += clone.size;
    return clone;
  });
  return new PlacedClones(clones, rva(next), canonical);
}

/** All PLT stubs stand where the first of them stood: many fit one page, and most starts use them. */
function withStubsTogether(units: readonly Unit[]): readonly Unit[] {
  const first = units.findIndex(({ kind }) => kind === 'plt');
  if (first < 0) return units;
  const others = units.slice(first).filter(({ kind }) => kind !== 'plt');
  return [...units.slice(0, first), ...units.filter(({ kind }) => kind === 'plt'), ...others];
}

export class PlacedClones implements CloneMap {
  readonly canonical: CloneMap['canonical'];
  readonly clones: readonly Clone[];
  /** Behind the last copy. */
  readonly end: Rva;
  readonly #order: ReadonlyMap<Clone, number>;
  /** Ascending by unit. */
  readonly #sorted: readonly Clone[];
  readonly #starts: Uint32Array;
  readonly #ends: Uint32Array;
  readonly #places: Uint32Array;

  constructor(clones: readonly Clone[], end: Rva, canonical: CloneMap['canonical']) {
    this.clones = clones;
    this.#order = new Map(clones.map((clone, i) => [clone, i]));
    this.end = end;
    this.canonical = canonical;
    const sorted = clones.toSorted((a, b) => a.unit.start - b.unit.start);
    this.#sorted = sorted;
    this.#starts = Uint32Array.from(sorted, ({ unit }) => unit.start);
    this.#ends = Uint32Array.from(sorted, ({ unit }) => unit.end);
    this.#places = Uint32Array.from(sorted, ({ at }) => at);
  }

  copyOf(at: Rva): Rva | undefined {
    const found = this.find(at);
    return found < 0 ? undefined : rva(found);
  }

  /** Like copyOf, for the many: -1 where the address is not cloned. */
  find(at: number): number {
    const i = this.#indexAt(at);
    return i < 0 ? -1 : (this.#places[i] ?? 0) + (at - (this.#starts[i] ?? 0));
  }

  /** The copies of parts of functions that begin behind `start` and before `end`, of addresses of originals. */
  partsWithin(start: number, end: number): readonly Clone[] {
    let last = this.#before(start) + 1;
    const first = last;
    while ((this.#starts[last] ?? end) < end) last++;
    return this.#sorted.slice(first, last).filter(({ unit }) => unit.kind === 'part');
  }

  /** How much of `size` bytes from an original address on was copied with the first of them. */
  clipped(at: number, size: number): number {
    const i = this.#indexAt(at);
    return i < 0 ? size : Math.min(size, (this.#ends[i] ?? 0) - at);
  }

  /**
   * How long a symbol of `size` bytes at an original address is in the copy: to the end of the function's last part
   * that lies behind the first. Then whoever asks what stands at an address (dladdr) is told the function.
   */
  extent(at: number, size: number): number {
    const first = this.#sorted[this.#indexAt(at)];
    if (first === undefined) return size;
    const endOf = (clone: Clone): number =>
      clone.at + (Math.min(clone.unit.end, at + size) - clone.unit.start);
    let end = endOf(first);
    for (let i = (this.#order.get(first) ?? this.clones.length) + 1; ; i++) {
      const next = this.clones[i];
      const isPart = next?.unit.kind === 'part' && next.unit.start > at && next.unit.start < at + size;
      if (next === undefined || !isPart) break;
      end = endOf(next);
    }
    return end - this.find(at);
  }

  /** The unit that holds an address; -1: none. */
  #indexAt(at: number): number {
    const i = this.#before(at);
    return i < 0 || at >= (this.#ends[i] ?? 0) ? -1 : i;
  }

  /** The last unit that begins at an address or before. */
  #before(at: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? 0) <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Where an address that others may keep leads to: -1 where it stays. */
  findAddress(at: number): number {
    return this.canonical === 'copy' ? this.find(at) : -1;
  }
}
