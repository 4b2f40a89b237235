/**
 * How many dynamic symbols a file has.
 *
 * Problem: the dynamic section says where the symbol table begins and not where it ends; the section
 * header that says it may be stripped.
 * Method: the section of type SHT_DYNSYM at that place, where there is one; else DT_HASH, whose number
 * of chains is the number of symbols; else the last symbol that DT_GNU_HASH reaches, which misses
 * undefined symbols behind an empty hash table, so the highest symbol of a relocation counts too.
 * Limits: without sections and DT_HASH, trailing symbols that neither is exported nor relocated (weak
 * references whose use was optimised away) stay unseen. ld.so does not see them either.
 */
import type { DynamicTables } from './dynamic.ts';
import type { Section } from './sections.ts';
import * as spec from './spec.ts';

/**
 * @param highestRelocated the highest symbol index among the dynamic relocations; asked only if needed.
 * @throws E_ELF_DYNAMIC where a hash table is damaged.
 */
export function countDynamicSymbols(
  dynamic: DynamicTables,
  sections: readonly Section[],
  highestRelocated: () => number,
): number {
  const address = dynamic.value(spec.DT_SYMTAB);
  if (address === undefined) return 0;
  const section = sections.find(({ type, rva }) => type === spec.SHT_DYNSYM && rva === address);
  if (section !== undefined) return Math.floor(section.size / spec.SYM_SIZE);
  if (dynamic.value(spec.DT_HASH) !== undefined) return dynamic.table(spec.DT_HASH, 8).getUint32(4, true);
  return Math.max(hashedSymbols(dynamic), highestRelocated() + 1);
}

function hashedSymbols(dynamic: DynamicTables): number {
  if (dynamic.value(spec.DT_GNU_HASH) === undefined) return 0;
  const table = dynamic.table(spec.DT_GNU_HASH);
  const past = (): never => dynamic.fail(spec.DT_GNU_HASH, 'the hash table goes past its segment');
  if (table.byteLength < 16) past();
  const bucketCount = table.getUint32(0, true);
  const firstHashed = table.getUint32(4, true);
  const bucketsAt = 16 + table.getUint32(8, true) * 8;
  const chainsAt = bucketsAt + bucketCount * 4;
  if (chainsAt > table.byteLength) past();
  let last = 0;
  for (let at = bucketsAt; at < chainsAt; at += 4) last = Math.max(last, table.getUint32(at, true));
  if (last < firstHashed) return firstHashed;
  // The chain of the highest bucket ends at the last symbol: the lowest bit of a hash marks an end.
  for (let at = chainsAt + (last - firstHashed) * 4; ; at += 4, last++) {
    if (at + 4 > table.byteLength) past();
    if ((table.getUint32(at, true) & 1) === 1) return last + 1;
  }
}
