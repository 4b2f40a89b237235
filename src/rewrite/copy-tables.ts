/** Jump tables of the copies: each leads to the same places as the original's, and into copies where there are. */
import { type Rva, rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import { findJumpTables, type JumpTable } from './jump-tables.ts';
import { alignUp, type PlacedClones } from './lay-out.ts';
import type { Clone, Kept, ModuleAnalysis } from './model.ts';
import { findUnitParts } from './unit-parts.ts';

export interface FoundTables {
  readonly tables: readonly JumpTable[];
  readonly kept: readonly Kept[];
}

export interface PlacedTable {
  readonly table: JumpTable;
  readonly at: Rva;
}

const TABLE_ALIGN = 8;
const entrySize = ({ kind }: JumpTable): number => (kind === 'relative' ? 4 : 8);
const byteLength = (table: JumpTable): number => table.targets.length * entrySize(table);

/** The tables of the clones. One that several units use comes several times. */
export function findTables(image: ElfImage, clones: readonly Clone[], analysis: ModuleAnalysis): FoundTables {
  const tables: JumpTable[] = [];
  const kept: Kept[] = [];
  const parts = findUnitParts(image, analysis);
  for (const { unit } of clones) {
    if (unit.kind === 'plt') continue;
    const found = findJumpTables(image, unit, parts.inside(unit));
    tables.push(...found.tables);
    kept.push(...found.kept);
  }
  return { tables, kept };
}

/** Gives each table a place, from `at` on; those with 8-byte entries first, so that nothing is lost. */
export function placeTables(tables: readonly JumpTable[], at: Rva): { placed: PlacedTable[]; size: number } {
  const start = alignUp(at, TABLE_ALIGN);
  let next = start;
  const wideFirst = tables.toSorted((a, b) => entrySize(b) - entrySize(a));
  const placed = wideFirst.map((table) => {
    const place = { table, at: rva(next) };
    next += byteLength(table);
    return place;
  });
  return { placed, size: next - start };
}

/** @param bytes of the segment that the tables stand in, from address `at` on. */
export function copyTables(
  placed: readonly PlacedTable[],
  clones: PlacedClones,
  bytes: Uint8Array,
  at: Rva,
): void {
  const view = viewOf(bytes);
  for (const { table, at: tableAt } of placed) {
    table.targets.forEach((target, i) => {
      const copy = clones.find(target);
      const to = copy < 0 ? target : copy;
      const entry = tableAt - at + i * entrySize(table);
      if (table.kind === 'relative') view.setInt32(entry, to - tableAt, true);
      else view.setBigUint64(entry, BigInt(to), true);
    });
  }
}
