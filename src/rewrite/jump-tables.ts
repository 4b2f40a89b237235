/**
 * The jump tables of one unit.
 */
import type { Rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import type { Kept, Unit } from './model.ts';

/** A table that a copy of the unit gets a copy of. */
export interface JumpTable {
  /**
   * `relative`: 4-byte entries, each a distance from the table's start. `absolute`: 8-byte addresses
   * (ET_EXEC).
   */
  readonly kind: 'relative' | 'absolute';
  readonly at: Rva;
  /**
   * The fields in the unit that must lead to the table's copy: `relative`: 4-byte pc-relative fields of
   * `lea`; `absolute`: 4-byte sign-extended addresses, in operands.
   */
  readonly fields: readonly Rva[];
  /** `relative`: bytes from the start of each field to its instruction's end; `absolute`: zeros. */
  readonly tails: readonly number[];
  /**
   * Where the entries lead, in their order; inside the unit and its parts, or elsewhere in code. There may be
   * more than the true table has: those are never used.
   */
  readonly targets: readonly Rva[];
}

export interface JumpTables {
  readonly tables: readonly JumpTable[];
  /** Tables that stay as they are: the unit's copy then jumps to the original through them. */
  readonly kept: readonly Kept[];
  /** Indirect jumps that are no tables: tail calls and computed gotos through relocated data. */
  readonly otherJumps: number;
}

/**
 * @param inside Whether an address lies in the unit or in a part that belongs to it (`.cold`).
 */
export function findJumpTables(
  _image: ElfImage,
  _unit: Pick<Unit, 'start' | 'end'>,
  _inside: (at: number) => boolean,
): JumpTables {
  return { tables: [], kept: [], otherJumps: 0 };
}
