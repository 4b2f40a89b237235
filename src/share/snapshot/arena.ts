/**
 * One block for all that the loader maps, so that the modules' distances are the same in all runs.
 *
 * The kernel places each mapping without an address anew at each start, and not even in the same order. The
 * tracer therefore writes an address into the call: the arena's next free one. glibc maps more than a module with a
 * larger p_align needs and cuts the ends off; as the arena's base is a multiple of that, it cuts alike each time.
 */
import { randomBytes } from 'node:crypto';
import { PAGE_SIZE, pagesIn } from '../../base/brands.ts';

/** Room kept free on both sides: the heap grows above the program, the loader's later mappings below it. */
const MARGIN = 2 ** 36;
const MOST = 2 ** 36;

export class Arena {
  readonly base: number;
  #end: number;

  constructor(base: number) {
    this.base = base;
    this.#end = base;
  }

  /** Behind the last address given out. */
  get end(): number {
    return this.#end;
  }

  /** The address for a mapping of `size` bytes. */
  next(size: number): number {
    const at = this.#end;
    this.#end += pagesIn(size) * PAGE_SIZE;
    return at;
  }
}

/** A base at random between two addresses, a multiple of `align` bytes; undefined where there is no room. */
export function arenaBase(above: number, below: number, align: number): number | undefined {
  const first = Math.ceil((above + MARGIN) / align);
  const count = Math.floor((below - MARGIN - MOST) / align) - first;
  if (count < 1) return undefined;
  // 48 random bits: below 2^53, and far more than there are places.
  return (first + (randomBytes(6).readUIntLE(0, 6) % count)) * align;
}
