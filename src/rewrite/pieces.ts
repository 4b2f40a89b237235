/** Pieces of code: what units are made of, while they are still being found and judged. */
import type { Fde } from '../elf/eh-frame.ts';
import type { Unit } from './model.ts';

export interface Piece {
  readonly kind: Exclude<Unit['kind'], 'cluster' | 'part'>;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  fallsThrough: boolean;
  /** How many calls of any kind it has. */
  calls: number;
  /** Why it must not move. */
  kept: string | undefined;
  /**
   * Its bytes are the instructions that they were read as, and may be changed to lead elsewhere. If not,
   * nothing counts that they say: data that was read as code has branches to anywhere.
   */
  trusted: boolean;
  /** The FDE of a function with an LSDA: its landing pads are found by their distance from its start. */
  readonly padded: Fde | undefined;
  /** Where a function can be cut: starts of the parts behind the first, ascending. */
  parts: readonly number[];
  /** Where a part of a function that can be cut is entered without a branch, ascending. */
  aside: readonly number[];
}

/**
 * Addresses of code fit 32 bits. V8 keeps a number that was computed with fractions or large ones in an object of its
 * own, and each that is computed from it; `>>> 0` makes it a plain one.
 */
export const newPiece = (kind: Piece['kind'], start: number, end: number, padded?: Fde): Piece => ({
  kind,
  start: start >>> 0,
  end: end >>> 0,
  fallsThrough: false,
  calls: 0,
  kept: undefined,
  trusted: true,
  padded,
  parts: [],
  aside: [],
});

/** The first reason stands. */
export function keep(piece: Piece, reason: string): void {
  piece.kept ??= reason;
}

export interface AddressRange {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** Finds ranges by address: ascending, not overlapping. */
export class RangeIndex<T extends AddressRange> {
  readonly ranges: readonly T[];
  readonly #starts: Float64Array;

  constructor(ranges: readonly T[]) {
    this.ranges = ranges;
    this.#starts = new Float64Array(ranges.length);
    for (let i = 0; i < ranges.length; i++) this.#starts[i] = ranges[i]?.start ?? 0;
  }

  /** Index of the last range that starts at `at` or before; -1: none. */
  before(at: number): number {
    const starts = this.#starts;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] ?? 0) <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Index of the range that holds `at`; -1: none. */
  indexOf(at: number): number {
    const index = this.before(at);
    const range = this.ranges[index];
    return range !== undefined && at < range.end ? index : -1;
  }

  find(at: number): T | undefined {
    const index = this.indexOf(at);
    return index < 0 ? undefined : this.ranges[index];
  }

  /** Where the first range after `at` starts; Infinity: there is none. */
  nextStart(at: number): number {
    return this.ranges[this.before(at) + 1]?.start ?? Number.POSITIVE_INFINITY;
  }
}

/** Finds the ranges of addresses that ascend, without a search for each. */
export class RangeCursor<T extends AddressRange> {
  readonly #ranges: readonly T[];
  #next = 0;

  constructor({ ranges }: RangeIndex<T>) {
    this.#ranges = ranges;
  }

  /** Index of the range that holds `at`, which is not lower than the last one that was asked for; -1: none. */
  indexOf(at: number): number {
    const ranges = this.#ranges;
    while ((ranges[this.#next]?.end ?? Number.POSITIVE_INFINITY) <= at) this.#next++;
    return at >= (ranges[this.#next]?.start ?? Number.POSITIVE_INFINITY) ? this.#next : -1;
  }

  find(at: number): T | undefined {
    const index = this.indexOf(at);
    return index < 0 ? undefined : this.#ranges[index];
  }
}
