/** readelf's spellings of ELF's numbers, written down from its manual page and binutils' elf/common.h. */
const SECTION_TYPES: ReadonlyMap<number, string> = new Map([
  [0, 'NULL'],
  [1, 'PROGBITS'],
  [2, 'SYMTAB'],
  [3, 'STRTAB'],
  [4, 'RELA'],
  [5, 'HASH'],
  [6, 'DYNAMIC'],
  [7, 'NOTE'],
  [8, 'NOBITS'],
  [9, 'REL'],
  [11, 'DYNSYM'],
  [14, 'INIT_ARRAY'],
  [15, 'FINI_ARRAY'],
  [16, 'PREINIT_ARRAY'],
  [17, 'GROUP'],
  [18, 'SYMTAB SECTION INDICES'],
  [19, 'RELR'],
  [0x6ffffff5, 'GNU_ATTRIBUTES'],
  [0x6ffffff6, 'GNU_HASH'],
  [0x6ffffff7, 'GNU_LIBLIST'],
  [0x6ffffffd, 'VERDEF'],
  [0x6ffffffe, 'VERNEED'],
  [0x6fffffff, 'VERSYM'],
  [0x70000001, 'X86_64_UNWIND'],
]);

const SEGMENT_TYPES: ReadonlyMap<number, string> = new Map([
  [0, 'NULL'],
  [1, 'LOAD'],
  [2, 'DYNAMIC'],
  [3, 'INTERP'],
  [4, 'NOTE'],
  [5, 'SHLIB'],
  [6, 'PHDR'],
  [7, 'TLS'],
  [0x6474e550, 'GNU_EH_FRAME'],
  [0x6474e551, 'GNU_STACK'],
  [0x6474e552, 'GNU_RELRO'],
  [0x6474e553, 'GNU_PROPERTY'],
]);

const SYMBOL_TYPES = ['NOTYPE', 'OBJECT', 'FUNC', 'SECTION', 'FILE', 'COMMON', 'TLS'];
const SYMBOL_BINDS = ['LOCAL', 'GLOBAL', 'WEAK'];

export const VISIBILITIES = ['DEFAULT', 'INTERNAL', 'HIDDEN', 'PROTECTED'];

const unknown = (value: number): string => `0x${value.toString(16)}`;

/** Types of an operating system's range that readelf has no name for: `LOOS+0xfff4c0c`. */
const systemType = (type: number): string =>
  type >= 0x60000000 && type < 0x70000000 ? `LOOS+0x${(type - 0x60000000).toString(16)}` : unknown(type);

export const sectionTypes = (type: number): string => SECTION_TYPES.get(type) ?? systemType(type);
export const segmentTypes = (type: number): string => SEGMENT_TYPES.get(type) ?? unknown(type);
const OS_SPECIFIC = '<OS specific>: 10';

/** GNU's two additions carry their names only in a file whose OS/ABI is GNU (or FreeBSD, for IFUNC). */
export function symbolTypes(type: number, osAbi: number): string {
  if (type === 10) return osAbi === 3 || osAbi === 9 ? 'IFUNC' : OS_SPECIFIC;
  return SYMBOL_TYPES[type] ?? unknown(type);
}

export function symbolBinds(bind: number, osAbi: number): string {
  if (bind === 10) return osAbi === 3 ? 'UNIQUE' : OS_SPECIFIC;
  return SYMBOL_BINDS[bind] ?? unknown(bind);
}

/** In the order in which readelf prints them: by bit, the lowest first. */
const SECTION_FLAGS: readonly (readonly [number, string])[] = [
  [0x1, 'W'],
  [0x2, 'A'],
  [0x4, 'X'],
  [0x10, 'M'],
  [0x20, 'S'],
  [0x40, 'I'],
  [0x80, 'L'],
  [0x100, 'O'],
  [0x200, 'G'],
  [0x400, 'T'],
  [0x800, 'C'],
  [0x200000, 'R'],
  [0x1000000, 'D'],
  [0x10000000, 'l'],
  [0x80000000, 'E'],
];

/** `R` and `D` are GNU's: readelf says `o`, "OS specific", in a file whose OS/ABI is another. */
export function sectionFlags(flags: number, osAbi: number): string {
  const bits = BigInt(flags);
  const gnu = osAbi === 3 || osAbi === 9;
  const letters = SECTION_FLAGS.map(([bit, letter]) => {
    if ((bits & BigInt(bit)) === 0n) return '';
    return !gnu && (letter === 'R' || letter === 'D') ? 'o' : letter;
  });
  return letters.join('');
}

const FLAGS: readonly string[] = ['ORIGIN', 'SYMBOLIC', 'TEXTREL', 'BIND_NOW', 'STATIC_TLS'];
const FLAGS_1: readonly string[] = [
  ...[
    'NOW',
    'GLOBAL',
    'GROUP',
    'NODELETE',
    'LOADFLTR',
    'INITFIRST',
    'NOOPEN',
    'ORIGIN',
    'DIRECT',
    'TRANS',
    'INTERPOSE',
  ],
  ...[
    'NODEFLIB',
    'NODUMP',
    'CONFALT',
    'ENDFILTEE',
    'DISPRELDNE',
    'DISPRELPND',
    'NODIRECT',
    'IGNMULDEF',
    'NOKSYMS',
  ],
  ...['NOHDR', 'EDITED', 'NORELOC', 'SYMINTPOSE', 'GLOBAUDIT', 'SINGLETON', 'STUB', 'PIE'],
];

const flagNames = (names: readonly string[], value: number): string =>
  names.filter((_, bit) => Math.floor(value / 2 ** bit) % 2 === 1).join(' ');

const STRING_TAGS: ReadonlyMap<number, string> = new Map([
  [1, 'Shared library:'],
  [14, 'Library soname:'],
  [15, 'Library rpath:'],
  [29, 'Library runpath:'],
]);

/** A dynamic entry in the form that readelf has chosen for it: hexadecimal, bytes, flags or a string. */
export function dynamicText(
  { tag, value }: { readonly tag: number; readonly value: number },
  theirs: string,
  string: (at: number) => string,
): string {
  const title = STRING_TAGS.get(tag);
  if (title !== undefined) return `${title} [${string(value)}]`;
  if (tag === 20) return value === 7 ? 'RELA' : 'REL';
  if (tag === 30) return flagNames(FLAGS, value);
  if (tag === 0x6ffffffb) return `Flags: ${flagNames(FLAGS_1, value)}`;
  // Tags that say all by being there (DT_BIND_NOW): readelf prints no value.
  if (theirs === '' && value === 0) return '';
  if (theirs.endsWith(' (bytes)')) return `${value} (bytes)`;
  return theirs.startsWith('0x') ? `0x${value.toString(16)}` : String(value);
}
