/** One hash for everything that stands where its name says: modules (solution 3), imports (solution 4). */
import { createHash } from 'node:crypto';

/** The first `bits` of SHA-256 over the name; 1 to 32. */
export function nameHash(name: string, bits: number): number {
  return createHash('sha256').update(name).digest().readUInt32BE(0) >>> (32 - bits);
}
