/**
 * String tables.
 *
 * Problem: names are found by offset, and tables share tails ("printf" inside "fprintf"). A crafted
 * table of one long string with a symbol at every byte would take quadratic time and memory.
 * Method: each offset is decoded once, and the total decoded has a bound linear in the table's size,
 * far above what real sharing takes.
 */
import { elfError } from './errors.ts';

const SHARING = 64;
const FREE_BYTES = 1 << 20;

export class StringTable {
  readonly #path: string;
  readonly #name: string;
  readonly #bytes: Buffer;
  readonly #known = new Map<number, string>();
  #decoded = 0;

  /** @param name the section or tag, for errors. */
  constructor(path: string, name: string, bytes: Uint8Array) {
    this.#path = path;
    this.#name = name;
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The string at an offset, read as UTF-8. @throws E_ELF_STRING outside of the table or without end. */
  at(offset: number): string {
    const known = this.#known.get(offset);
    if (known !== undefined) return known;
    if (offset >= this.#bytes.length) this.#fail(`offset ${offset} is past its ${this.#bytes.length} bytes`);
    const end = this.#bytes.indexOf(0, offset);
    if (end < 0) this.#fail(`the string at offset ${offset} has no end`);
    this.#decoded += end - offset;
    if (this.#decoded > SHARING * this.#bytes.length + FREE_BYTES)
      this.#fail('its strings overlap without measure');
    const text = this.#bytes.toString('utf8', offset, end);
    this.#known.set(offset, text);
    return text;
  }

  #fail(what: string): never {
    throw elfError('E_ELF_STRING', { path: this.#path, part: this.#name, what });
  }
}
