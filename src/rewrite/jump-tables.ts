/**
 * The jump tables of one unit: which of them a copy of the unit can have copies of.
 *
 * Problem: `switch` jumps through a table of distances, or of addresses in programs with fixed ones. A copy of the
 * unit that keeps using it leaves the copy at every switch.
 * Example: `cmp $6, %edi; ja default; lea T, %rdx; movslq (%rdx,%rdi,4), %rax; add %rdx, %rax; jmp *%rax`. The copy's
 * lea shall lead to a copy of T whose seven entries lead to the copy's labels.
 * Method: every instruction whose operand is an address where a table of this unit may stand (an early entry leads
 * to the unit) is a candidate. table-flow.ts follows what it makes through the code. It is a table's address if it
 * comes to a jump through an entry, and may be changed if it is used for nothing else. Each candidate stands for
 * itself: what leads to the original table goes on doing so, and the jump is right with either. table-entries.ts
 * says how long the copy must be; table-bounds.ts shortens it where the code proves how many entries are used.
 * An entry that is kept on the stack for later is followed where nothing else is put there (stack-slots.ts).
 * Limits: tables whose address is made from another's, or comes from memory, stay, and so do those that begin
 * with many entries for code elsewhere. Where the jump's target is computed from a label's address (printf's
 * tables) nothing needs to be changed; tables in relocated data follow their relocations.
 */
import { type Rva, rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import type { Kept } from './model.ts';
import { type CodeRange, TableCode } from './table-code.ts';
import type { TableKind } from './table-entries.ts';
import { TableSearch } from './table-search.ts';

/** A table that a copy of the unit gets a copy of. */
export interface JumpTable {
  /**
   * `relative`: 4-byte entries, each a distance from the table's start. `absolute`: 8-byte addresses
   * (ET_EXEC).
   */
  readonly kind: TableKind;
  readonly at: Rva;
  /** The 4-byte fields in the unit that must lead to the table's copy. */
  readonly fields: readonly Rva[];
  /** Of each field: bytes from its start to the end of its instruction if it is pc-relative; 0: it is an address. */
  readonly tails: readonly number[];
  /** Fields that must lead to the copy all or none: what makes the address for entries, and to add to them. */
  readonly together: readonly (readonly Rva[])[];
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

const NOTHING: JumpTables = { tables: [], kept: [], otherJumps: 0 };

/**
 * @param inside Whether an address lies in the unit or in a part that belongs to it (`.cold`).
 * @param isAlone Whether there is no such part.
 */
export function findJumpTables(
  image: ElfImage,
  unit: CodeRange,
  inside: (at: number) => boolean,
  isAlone: () => boolean,
): JumpTables {
  const code = new TableCode(image, unit, inside, isAlone);
  if (code.jumps.length === 0) return NOTHING;
  try {
    const { found, kept, otherJumps } = new TableSearch(code).run();
    return {
      tables: found.map(({ candidates, together, targets }) => ({
        kind: candidates[0].kind,
        at: rva(candidates[0].address),
        fields: candidates.map(({ field }) => rva(field)),
        tails: candidates.map(({ tail }) => tail),
        together: together.map((group) => group.map(({ field }) => rva(field))),
        targets: targets.map((target) => rva(target)),
      })),
      kept,
      otherJumps,
    };
  } finally {
    code.free();
  }
}
