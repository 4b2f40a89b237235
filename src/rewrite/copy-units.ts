/** Copies of units and of their jump tables, encoded for the places where they come to lie. */
import type { FileOffset, Rva } from '../base/brands.ts';
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import type { ChosenUnits } from './choose-units.ts';
import { FIELD_ADDRESS } from './code-fields.ts';
import type { PlacedTable } from './copy-tables.ts';
import { JUMP_SIZE, type PlacedClones } from './lay-out.ts';

/** `int3`: nothing runs between two copies. */
const FILLER = 0xcc;
const JUMP_REL32 = 0xe9;

/**
 * Writes the copies.
 *
 * @param code the bytes of the segment that the copies stand in, from address `at` on.
 */
export function copyUnits(
  image: ElfImage,
  { fields, rows }: ChosenUnits,
  clones: PlacedClones,
  tables: readonly PlacedTable[],
  code: Uint8Array,
  at: Rva,
): void {
  const view = viewOf(code);
  const from = viewOf(image.bytes);
  code.fill(FILLER);
  for (const { unit, at: place } of clones.clones) {
    const offset = needOffset(image, unit.start);
    code.set(image.bytes.subarray(offset, offset + (unit.end - unit.start)), place - at);
    const distance = place - unit.start;
    const [first, last] = rows.get(unit) ?? [0, 0];
    for (let row = first; row < last; row++) {
      const field = fields.field[row] ?? 0;
      const end = field + (fields.tail[row] ?? 0);
      const target = end + from.getInt32(offset + (field - unit.start), true);
      const copy = fields.kind[row] === FIELD_ADDRESS ? clones.findAddress(target) : clones.find(target);
      const newField = field + distance;
      view.setInt32(newField - at, (copy < 0 ? target : copy) - (end + distance), true);
    }
    if (unit.fallsThrough) {
      const jump = unit.end + distance;
      const copy = clones.find(unit.end);
      view.setUint8(jump - at, JUMP_REL32);
      view.setInt32(jump + 1 - at, (copy < 0 ? unit.end : copy) - (jump + JUMP_SIZE), true);
    }
  }
  for (const { table, at: tableAt } of tables) {
    table.fields.forEach((field, i) => {
      const newField = clones.find(field);
      if (newField < 0) return;
      const tail = table.tails[i] ?? 0;
      const end = tail === 0 ? 0 : newField + tail;
      view.setInt32(newField - at, tableAt - end, true);
    });
  }
}

function needOffset(image: ElfImage, at: Rva): FileOffset {
  const offset = image.offsetOf(at);
  if (offset === undefined) throw new Error(`the unit at 0x${at.toString(16)} is not in the file`);
  return offset;
}
