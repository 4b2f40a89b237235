/** Sets of addresses of code. One bit for each byte: the 33 MB of the largest library's text take 4 MB. */
import type { AddressRange } from './pieces.ts';

interface Bits extends AddressRange {
  readonly bits: Uint8Array;
}

export class AddressBits {
  readonly #all: readonly Bits[];
  /** The one that was asked last. */
  #bits: Uint8Array = new Uint8Array();
  #start = 0;
  #size = 0;

  /** @param ranges what the addresses may lie in; others are never in the set. */
  constructor(ranges: readonly AddressRange[]) {
    this.#all = ranges.map(({ start, end }) => ({
      start,
      end,
      bits: new Uint8Array(Math.ceil((end - start) / 8)),
    }));
    const [first] = this.#all;
    if (first !== undefined) this.#turnTo(first);
  }

  set(at: number): void {
    const index = this.#indexOf(at);
    if (index < 0) return;
    this.#bits[index >>> 3] = (this.#bits[index >>> 3] ?? 0) | (1 << (index & 7));
  }

  /** Adds those from `start` to `end`, exclusive. */
  setRange(start: number, end: number): void {
    if (this.#indexOf(start) >= 0 && this.#indexOf(end - 1) >= end - start - 1) {
      for (let at = start; at < end; at++) this.set(at);
      return;
    }
    for (const range of this.#all) {
      const last = Math.min(end, range.end);
      for (let at = Math.max(start, range.start); at < last; at++) this.set(at);
    }
  }

  clear(at: number): void {
    const index = this.#indexOf(at);
    if (index < 0) return;
    this.#bits[index >>> 3] = (this.#bits[index >>> 3] ?? 0) & ~(1 << (index & 7));
  }

  has(at: number): boolean {
    const index = this.#indexOf(at);
    return index >= 0 && ((this.#bits[index >>> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  #indexOf(at: number): number {
    const index = at - this.#start;
    if (index >= 0 && index < this.#size) return index;
    return this.#turnToThatOf(at) ? at - this.#start : -1;
  }

  /** By itself: a function that makes one like this allocates whenever it is called. */
  #turnToThatOf(at: number): boolean {
    const found = this.#all.find(({ start, end }) => at >= start && at < end);
    if (found !== undefined) this.#turnTo(found);
    return found !== undefined;
  }

  #turnTo({ start, end, bits }: Bits): void {
    this.#start = start >>> 0;
    this.#size = (end - start) >>> 0;
    this.#bits = bits;
  }
}
