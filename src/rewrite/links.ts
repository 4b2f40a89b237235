/**
 * Links: what instructions of one piece of code say of addresses outside of it. Tables of numbers, as the
 * largest libraries have a million.
 */

/** Kinds of links; a branch is one of the first three. */
export const LINK_CALL = 1;
export const LINK_JUMP = 2;
export const LINK_CONDITIONAL = 3;
/** `lea` of a rip-relative address. */
export const LINK_ADDRESS = 4;
/** Another rip-relative operand: the instruction reads (or writes) memory there. */
export const LINK_READ = 5;
/** Added to a branch with an 8-bit distance. */
export const LINK_SHORT = 8;

export const isBranch = (kind: number): boolean => (kind & 7) <= LINK_CONDITIONAL;

/** A list of 32-bit numbers that grows. */
export class NumberList {
  #values = new Uint32Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const more = new Uint32Array(this.#length * 2);
      more.set(this.#values);
      this.#values = more;
    }
    this.#values[this.#length++] = value;
  }

  at(index: number): number {
    return this.#values[index] ?? 0;
  }

  /** Forgets what was pushed after the list had `length` numbers. */
  cut(length: number): void {
    this.#length = Math.min(this.#length, length);
  }

  /** The numbers in place, to be read before the list grows again. */
  get values(): Uint32Array {
    return this.#values.subarray(0, this.#length);
  }

  /** Ascending, each once. */
  sorted(): Uint32Array {
    const values = this.#values.slice(0, this.#length).sort();
    let kept = 0;
    for (const value of values) {
      if (kept === 0 || values[kept - 1] !== value) values[kept++] = value;
    }
    return values.subarray(0, kept);
  }
}

/** In the order in which they were found. */
export class Links {
  /** Of the displacement. */
  readonly field = new NumberList();
  readonly target = new NumberList();
  /** The kind, and above it the bytes from the field's start to the instruction's end. */
  readonly #about = new NumberList();

  get length(): number {
    return this.field.length;
  }

  push(field: number, target: number, tail: number, kind: number): void {
    this.field.push(field);
    this.target.push(target);
    this.#about.push((tail << 8) | kind);
  }

  kindAt(index: number): number {
    return this.#about.at(index) & 0xff;
  }

  tailAt(index: number): number {
    return this.#about.at(index) >>> 8;
  }

  /** Both, which ascend by field, as one. */
  static merged(first: Links, second: Links): Links {
    const all = new Links();
    const copy = (from: Links, i: number): void =>
      all.push(from.field.at(i), from.target.at(i), from.tailAt(i), from.kindAt(i));
    let i = 0;
    let j = 0;
    while (i < first.length || j < second.length) {
      const isFirst = j >= second.length || (i < first.length && first.field.at(i) <= second.field.at(j));
      if (isFirst) copy(first, i++);
      else copy(second, j++);
    }
    return all;
  }

  /** Index of the first link whose field stands at `at` or behind; the links ascend by field. */
  firstFrom(at: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.field.at(middle) < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  cut(length: number): void {
    this.field.cut(length);
    this.target.cut(length);
    this.#about.cut(length);
  }
}
