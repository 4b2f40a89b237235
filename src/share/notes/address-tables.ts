/**
 * Solution 2: code finds its table by its own address.
 *
 * Problem: a module's table of addresses lies at a fixed distance from its code, so each module has private pages of
 * its own, nearly empty ones.
 * Example: a module is mapped where bits 20 to 35 of its address say 0x123: its table begins at slot 0x123 of the
 * process's one block of tables. 110 modules with 3,000 imports need 6 private pages in place of 110.
 * Method: the tables of this program side by side, and the bits of an address that are needed: those within the
 * largest module, and those that number the slots.
 * Limits: no compiler makes such code. Constants that hold addresses (tables of virtual functions) are counted apart: they
 * would have to go through the table too.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { countRelocations } from './count-relocations.ts';
import type { ModuleImports } from './imports.ts';
import { spanOf } from './layouts.ts';

const SLOT_SIZE = 8;
const ADDRESS_BITS = 47;

export interface AddressTables {
  readonly slots: number;
  /** 4 KiB pages of all tables side by side: what is private in a process. */
  readonly pages: number;
  /** With a table of its own page or pages for each module. */
  readonly pagesApart: number;
  /** Words of constants and data that hold addresses of their own module. */
  readonly constants: number;
  /** Of an address: within a module, and for the slot where its table begins. */
  readonly moduleBits: number;
  readonly slotBits: number;
  /** Whether both leave bits for the block's own place. */
  readonly fits: boolean;
}

export function addressTables(modules: readonly ModuleImports[]): AddressTables {
  const pagesOf = (slots: number): number => Math.ceil((slots * SLOT_SIZE) / PAGE_SIZE);
  const counts = modules.map(({ imports, own }) => imports.length + own);
  const slots = counts.reduce((sum, count) => sum + count, 0);
  const largest = modules.reduce((most, { module }) => Math.max(most, spanOf(module.image)), PAGE_SIZE);
  const moduleBits = Math.ceil(Math.log2(largest));
  const slotBits = Math.ceil(Math.log2(Math.max(2, slots)));
  return {
    slots,
    pages: pagesOf(slots),
    pagesApart: counts.reduce((sum, count) => sum + pagesOf(count), 0),
    constants: modules.reduce((sum, { module }) => {
      const { relative, relr } = countRelocations(module.image).counts;
      return sum + relative + relr;
    }, 0),
    moduleBits,
    slotBits,
    fits: moduleBits + slotBits < ADDRESS_BITS,
  };
}
