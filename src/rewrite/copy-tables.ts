/** Jump tables of the copies: each leads to the same places as the original's, and into copies where there are. */
import { type Rva, rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import { findJumpTables, type JumpTable } from './jump-tables.ts';
import { alignUp, type PlacedClones } from './lay-out.ts';
import type { Clone, Kept, ModuleAnalysis, Unit } from './model.ts';
import { RangeIndex } from './pieces.ts';
import { findUnitParts, functionOf, rangeOf } from './unit-parts.ts';

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

/**
 * The tables of the clones. One that several units use comes several times. Those of a function that is cut are looked for
 * in all of it: the address may be made in one part, and jumped through in another.
 */
export function findTables(image: ElfImage, clones: readonly Clone[], analysis: ModuleAnalysis): FoundTables {
  const tables: JumpTable[] = [];
  const kept: Kept[] = [];
  const { insideAll, areAlone } = findUnitParts(image, analysis);
  const cloned = new Set(clones.map(({ unit }) => unit));
  const seen = new Set<Unit>();
  for (const { unit } of clones) {
    if (unit.kind === 'plt') continue;
    const whole = functionOf(analysis, unit);
    const [first] = whole;
    if (first === undefined || seen.has(first)) continue;
    seen.add(first);
    const found = findJumpTables(image, rangeOf(whole), insideAll(whole), () => areAlone(whole));
    const copied = new RangeIndex(whole.filter((part) => cloned.has(part)));
    for (const table of found.tables) {
      const whyNot = whyTableStays(table, copied);
      if (whyNot === undefined) tables.push(table);
      else if (whyNot !== NOT_USED) kept.push({ kind: 'kept', reason: whyNot, at: table.at });
    }
    kept.push(...found.kept);
  }
  return { tables, kept };
}

const NOT_USED = 'no copied part leads to it';
const IN_TWO_PARTS = 'what makes the address of a jump table is not copied together';

function whyTableStays({ fields, together }: JumpTable, copied: RangeIndex<Unit>): string | undefined {
  const isCopied = (field: number): boolean => copied.indexOf(field) >= 0;
  if (!fields.some(isCopied)) return NOT_USED;
  return together.some((group) => group.some(isCopied) && !group.every(isCopied)) ? IN_TWO_PARTS : undefined;
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
