/** Which entries of a dynamic section hold an address, and which a number. */
import * as spec from '../../elf/spec.ts';

/** Ranges that the specification sets apart: numbers, then addresses. */
const VALUES_FROM = 0x6ffffd00;
const VALUES_TO = 0x6ffffdff;
const ADDRESSES_FROM = 0x6ffffe00;
const ADDRESSES_TO = 0x6ffffeff;
const DT_AUXILIARY = 0x7ffffffd;
const DT_FILTER = 0x7fffffff;
const DT_X86_64_PLT = 0x70000000;
const DT_X86_64_PLTSZ = 0x70000001;
const DT_X86_64_PLTENT = 0x70000003;

const ADDRESSES: ReadonlySet<number> = new Set([
  spec.DT_PLTGOT,
  spec.DT_HASH,
  spec.DT_STRTAB,
  spec.DT_SYMTAB,
  spec.DT_RELA,
  spec.DT_INIT,
  spec.DT_FINI,
  spec.DT_JMPREL,
  spec.DT_INIT_ARRAY,
  spec.DT_FINI_ARRAY,
  spec.DT_PREINIT_ARRAY,
  spec.DT_SYMTAB_SHNDX,
  spec.DT_RELR,
  spec.DT_VERSYM,
  spec.DT_VERDEF,
  spec.DT_VERNEED,
  DT_X86_64_PLT,
]);

const VALUES: ReadonlySet<number> = new Set([
  spec.DT_NEEDED,
  spec.DT_PLTRELSZ,
  spec.DT_RELASZ,
  spec.DT_RELAENT,
  spec.DT_STRSZ,
  spec.DT_SYMENT,
  spec.DT_SONAME,
  spec.DT_RPATH,
  spec.DT_SYMBOLIC,
  spec.DT_PLTREL,
  spec.DT_DEBUG,
  spec.DT_TEXTREL,
  spec.DT_BIND_NOW,
  spec.DT_INIT_ARRAYSZ,
  spec.DT_FINI_ARRAYSZ,
  spec.DT_RUNPATH,
  spec.DT_FLAGS,
  spec.DT_PREINIT_ARRAYSZ,
  spec.DT_RELRSZ,
  spec.DT_RELRENT,
  spec.DT_RELACOUNT,
  spec.DT_FLAGS_1,
  spec.DT_VERDEFNUM,
  spec.DT_VERNEEDNUM,
  DT_AUXILIARY,
  DT_FILTER,
  DT_X86_64_PLTSZ,
  DT_X86_64_PLTENT,
]);

/** Undefined for tags that nobody here knows. */
export function tagHolds(tag: number): 'address' | 'value' | undefined {
  if (ADDRESSES.has(tag) || (tag >= ADDRESSES_FROM && tag <= ADDRESSES_TO)) return 'address';
  if (VALUES.has(tag) || (tag >= VALUES_FROM && tag <= VALUES_TO)) return 'value';
  return undefined;
}
