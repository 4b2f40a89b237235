/** What winnow's binary files are made of: strings, times. */

const NS = 1_000_000_000n;
export const roundUp8 = (size: number): number => Math.ceil(size / 8) * 8;

/** A time in nanoseconds since the epoch as struct timespec has it. */
export function writeTime(table: Buffer, secondsAt: number, nanosecondsAt: number, ns: bigint): void {
  // Floor, also before 1970: the kernel counts nanoseconds up from the second.
  const rest = ((ns % NS) + NS) % NS;
  table.writeBigInt64LE((ns - rest) / NS, secondsAt);
  table.writeUInt32LE(Number(rest), nanosecondsAt);
}

/** Undefined where the nanoseconds are more than a second. */
export function readTime(bytes: Buffer, secondsAt: number, nanosecondsAt: number): bigint | undefined {
  const rest = BigInt(bytes.readUInt32LE(nanosecondsAt));
  return rest < NS ? bytes.readBigInt64LE(secondsAt) * NS + rest : undefined;
}

/** Strings one after another, each once, each ended by a zero byte. */
export class Strings {
  readonly #at = new Map<string, number>();
  readonly #parts: Buffer[] = [];
  #size = 0;

  /** Offset of the string's first byte. */
  add(text: string): number {
    const known = this.#at.get(text);
    if (known !== undefined) return known;
    const bytes = Buffer.from(`${text}\0`);
    const at = this.#size;
    this.#at.set(text, at);
    this.#parts.push(bytes);
    this.#size += bytes.length;
    return at;
  }

  /** All strings, padded with zero bytes to a multiple of 8. */
  bytes(): Buffer {
    return Buffer.concat(this.#parts, roundUp8(this.#size));
  }
}
