/** A list of instructions that grows: where each begins, and its length. */
export class InstructionList {
  /** Address and length in one number, so that sorting takes both along. */
  #packed = new Float64Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(at: number, length: number): void {
    if (this.#length === this.#packed.length) {
      const more = new Float64Array(this.#length * 2);
      more.set(this.#packed);
      this.#packed = more;
    }
    this.#packed[this.#length++] = at * LENGTHS + length;
  }

  at(index: number): number {
    // To a whole number of 32 bits, which V8 keeps without an object around it.
    return ((this.#packed[index] ?? 0) / LENGTHS) >>> 0;
  }

  lengthAt(index: number): number {
    return (this.#packed[index] ?? 0) & (LENGTHS - 1);
  }

  /** By address, ascending. */
  sort(): void {
    const packed = this.#packed;
    for (let i = 1; i < this.#length; i++) {
      // Code that goes straight on is in order.
      if ((packed[i] ?? 0) < (packed[i - 1] ?? 0)) return void packed.subarray(0, this.#length).sort();
    }
  }

  /** Whether one of them, which ascend, has this byte. */
  holds(byte: number): boolean {
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.at(middle) <= byte) low = middle + 1;
      else high = middle;
    }
    return low > 0 && byte < this.at(low - 1) + this.lengthAt(low - 1);
  }

  /** Forgets what was pushed after the list had `length` of them. */
  cut(length: number): void {
    this.#length = Math.min(this.#length, length);
  }
}

/** No instruction is longer than 15 bytes. */
const LENGTHS = 16;
