/** The bytes of one span in all runs, read as words at any offset. Plain numbers: there are millions. */

const WORD = 8;
const TWO_32 = 2 ** 32;

export class Window {
  readonly runs: number;
  readonly size: number;
  readonly #views: readonly DataView[];
  readonly #halves: readonly Uint32Array[];

  /** @param bytes one buffer a run, all of one length, a multiple of 8. */
  constructor(bytes: readonly Buffer[]) {
    this.runs = bytes.length;
    this.size = bytes[0]?.length ?? 0;
    this.#views = bytes.map((run) => new DataView(run.buffer, run.byteOffset, run.length));
    this.#halves = bytes.map(
      (run) => new Uint32Array(aligned(run).buffer, aligned(run).byteOffset, run.length / 4),
    );
  }

  /** The first byte from `from` on that is not the same in all runs, or -1. */
  nextDifference(from: number): number {
    const halves = this.#halves;
    const first = halves[0];
    if (first === undefined) return -1;
    let half = from >>> 2;
    if ((from & 3) !== 0) {
      const found = this.#differenceIn(half, from & 3);
      if (found >= 0) return found;
      half++;
    }
    for (; half < first.length; half++) {
      const value = first[half];
      for (let run = 1; run < halves.length; run++) {
        if (halves[run]?.[half] !== value) return this.#differenceIn(half, 0);
      }
    }
    return -1;
  }

  #differenceIn(half: number, from: number): number {
    for (let at = half * 4 + from; at < half * 4 + 4; at++) {
      const value = this.#views[0]?.getUint8(at);
      if (this.#views.some((view) => view.getUint8(at) !== value)) return at;
    }
    return -1;
  }

  /** The word of a run less that of the first run. Exact where it is below 2^53, as all distances of addresses are. */
  slid(at: number, run: number): number {
    if (at + WORD > this.size) return 0;
    return (
      (this.#half(run, at + 4) - this.#half(0, at + 4)) * TWO_32 + this.#half(run, at) - this.#half(0, at)
    );
  }

  #half(run: number, at: number): number {
    return (at & 3) === 0
      ? (this.#halves[run]?.[at >>> 2] ?? 0)
      : (this.#views[run]?.getUint32(at, true) ?? 0);
  }

  /** Not a number where it goes past the end. */
  u32(run: number, at: number): number {
    return at + 4 > this.size ? Number.NaN : (this.#views[run]?.getUint32(at, true) ?? Number.NaN);
  }

  u64(run: number, at: number): bigint {
    return this.#views[run]?.getBigUint64(at, true) ?? 0n;
  }

  values(at: number): readonly bigint[] {
    return this.#views.map((view) => view.getBigUint64(at, true));
  }
}

/** Buffers cut out of others can begin at any byte. */
const aligned = (bytes: Buffer): Buffer =>
  bytes.byteOffset % 4 === 0 ? bytes : Buffer.from(new Uint8Array(bytes).buffer);
