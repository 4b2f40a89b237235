/**
 * Solution 4: one table for the whole process, in which each import stands where its name hashes to.
 *
 * Problem: every module has a table of its own for what it imports, which is private in every process.
 * Example: 262,144 slots of 8 bytes are 2 MiB; a program with 1,000 imports touches up to 512 pages of it.
 * Method: this program's imports hashed; those whose slot another import has already collide. Two modules that
 * import one symbol share its slot.
 * Limits: what a collision costs is not said: the compiler would have to know of it.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { collisionProbability, firstCountAbove } from './birthday.ts';
import type { ModuleImports } from './imports.ts';
import { nameHash } from './name-hash.ts';

const SLOT_BITS = 18;
const SLOT_SIZE = 8;

export interface HashedDispatcher {
  readonly slots: number;
  /** Different symbols that some module imports. */
  readonly imports: number;
  readonly slotsUsed: number;
  readonly collisions: number;
  /** 4 KiB pages of the table that hold a used slot. */
  readonly pagesTouched: number;
  /** What a table without holes would take. */
  readonly pagesDense: number;
  readonly probability: number;
  readonly onePercent: number;
  readonly half: number;
}

export function hashImports(modules: readonly ModuleImports[], bits = SLOT_BITS): HashedDispatcher {
  const names = new Set(
    modules.flatMap(({ imports }) => imports.map(({ name, version }) => `${name}@${version ?? ''}`)),
  );
  const used = new Set([...names].map((name) => nameHash(name, bits)));
  const slots = 2 ** bits;
  return {
    slots,
    imports: names.size,
    slotsUsed: used.size,
    collisions: names.size - used.size,
    pagesTouched: new Set([...used].map((slot) => Math.floor((slot * SLOT_SIZE) / PAGE_SIZE))).size,
    pagesDense: Math.ceil((names.size * SLOT_SIZE) / PAGE_SIZE),
    probability: collisionProbability(names.size, slots),
    onePercent: firstCountAbove(0.01, slots),
    half: firstCountAbove(0.5, slots),
  };
}
