/**
 * Solution 3: each module at the address that its name hashes to.
 *
 * Problem: prelinked modules need addresses that do not collide, without anybody who hands them out.
 * Example: with 16 bits, the half of memory that programs have is 65,536 places of 2 GiB; libz.so.1 is always at the
 * same one.
 * Method: the names of this very program hashed, beside what the birthday bound says for so many modules.
 * Limits: a module that is larger than a place (256 MiB for 19 bits) takes the next one too.
 */
import { collisionProbability, firstCountAbove } from './birthday.ts';
import { nameHash } from './name-hash.ts';

/** Bytes of the half of the address space that programs have. */
const USER_SPACE = 2 ** 47;

export interface AddressHashing {
  readonly bits: number;
  /** Bytes of a place. */
  readonly placeSize: number;
  readonly modules: number;
  /** Modules that meet one that came before them, by name. */
  readonly collisions: readonly (readonly [string, string])[];
  /** That any two of so many modules meet. */
  readonly probability: number;
  /** The least number of modules that passes 1 %, and 50 %. */
  readonly onePercent: number;
  readonly half: number;
}

export interface NamedModule {
  readonly name: string;
  /** Bytes from its first to its last page. */
  readonly span: number;
}

export function hashAddresses(modules: readonly NamedModule[], bits: number): AddressHashing {
  const places = 2 ** bits;
  const placeSize = USER_SPACE / places;
  const taken = new Map<number, string>();
  const collisions: (readonly [string, string])[] = [];
  for (const { name, span } of modules) {
    const first = nameHash(name, bits);
    const count = Math.max(1, Math.ceil(span / placeSize));
    const own = Array.from({ length: count }, (_, i) => (first + i) % places);
    const other = own.map((place) => taken.get(place)).find((found) => found !== undefined);
    if (other !== undefined) collisions.push([name, other]);
    for (const place of own) if (!taken.has(place)) taken.set(place, name);
  }
  return {
    bits,
    placeSize,
    modules: modules.length,
    collisions,
    probability: collisionProbability(modules.length, places),
    onePercent: firstCountAbove(0.01, places),
    half: firstCountAbove(0.5, places),
  };
}
