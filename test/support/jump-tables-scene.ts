/** Functions with switches, assembled, and the jump tables that are found in them. */
import type { ElfImage } from '../../src/elf/image.ts';
import { analyseModule, findUnitParts } from '../../src/rewrite/analyse.ts';
import { findJumpTables, type JumpTables } from '../../src/rewrite/jump-tables.ts';
import { fdeFunction, unitOfSymbol, type Workshop } from './asm.ts';

export interface Found extends JumpTables {
  readonly image: ElfImage;
  /** Of each table: its symbol and kind, the symbols that its entries lead to, and those of the fields' instructions. */
  readonly words: readonly string[];
  readonly reasons: readonly string[];
}

/** The tables of the function `main`. Labels are symbols unless they begin with .L. */
export function searchIn(workshop: Workshop, assembly: string, options?: readonly string[]): Found {
  const image = workshop.library(`.text\n${assembly}\n`, options);
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  const unit = unitOfSymbol(image, analysis, 'main');
  const parts = findUnitParts(image, analysis);
  const found = findJumpTables(image, unit, parts.inside(unit), () => parts.areAlone([unit]));
  const nameOf = (at: number): string =>
    image.staticSymbols.find(({ rva, name }) => rva === at && name !== '' && name !== 'main')?.name ??
    `0x${at.toString(16)}`;
  const words = found.tables.map(({ kind, at, targets, fields, tails }) => {
    const ends = fields.map((field, i) => nameOf(field + (tails[i] === 0 ? 4 : (tails[i] ?? 0))));
    return `${kind} ${nameOf(at)} to ${targets.map(nameOf).join(' ')} from ${ends.join(' ')}`;
  });
  return { ...found, image, words, reasons: found.kept.map(({ reason }) => reason) };
}

export const main = (body: string): string => fdeFunction('main', body);
export const ENTRIES = (...labels: string[]): string =>
  labels.map((label) => `.long ${label} - T`).join('\n');
export const rodata = (table: string): string =>
  `.section .rodata\n.align 4\n${table}\n.long 0x7fffffff\n.text\n`;
export const TABLE = rodata(`T: ${ENTRIES('one', 'two', 'three')}`);
export const CASES =
  'one: mov $1, %eax\nret\ntwo: mov $2, %eax\nret\nthree: mov $3, %eax\nret\nother: xor %eax, %eax\nret\n';
