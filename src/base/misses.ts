/** NAME.misses and plan.misses: TypeScript's side of runtime/misses.h. `misses.test.ts` compares both. */

export const MISSES_MAX = 65_536;
export const MISS = { size: 8, what: 0, index: 4 } as const;

export interface CountedMiss {
  /** LINKED_BAD_…, PLAN_MISS_… */
  readonly what: number;
  readonly index: number;
  readonly count: number;
}

export interface Misses {
  /** Most first. */
  readonly causes: readonly CountedMiss[];
  readonly count: number;
  /** Nobody notes any more: there may have been more. */
  readonly isFull: boolean;
}

/** What a start that was cut off while it wrote has left at the end is not counted. */
export function decodeMisses(bytes: Uint8Array): Misses {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = Math.floor(all.length / MISS.size);
  const causes = new Map<string, CountedMiss>();
  for (let at = 0; at < count * MISS.size; at += MISS.size) {
    const what = all.readUInt32LE(at + MISS.what);
    const index = all.readUInt32LE(at + MISS.index);
    const key = `${what} ${index}`;
    causes.set(key, { what, index, count: (causes.get(key)?.count ?? 0) + 1 });
  }
  return {
    causes: [...causes.values()].sort((a, b) => b.count - a.count || a.what - b.what || a.index - b.index),
    count,
    isFull: all.length > MISSES_MAX - MISS.size || all.length % MISS.size !== 0,
  };
}
