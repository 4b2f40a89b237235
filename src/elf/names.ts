/** Names of numbers, for people: as the specification spells them. */
import * as spec from './spec.ts';

type Names = ReadonlyMap<number, string>;
const spell = (names: Names, value: number, prefix: string): string =>
  names.get(value) ?? `${prefix}0x${value.toString(16)}`;

/** Only constants whose name begins with the prefix; the last of two with one number wins. */
function named(prefix: string): Names {
  const found = new Map<number, string>();
  for (const [name, value] of Object.entries(spec)) if (name.startsWith(prefix)) found.set(value, name);
  return found;
}

const SEGMENT_TYPES = named('PT_');
const SECTION_TYPES = named('SHT_');
const DYNAMIC_TAGS = named('DT_');
const FILE_TYPES = named('ET_');
const SYMBOL_TYPES = named('STT_');
const SYMBOL_BINDINGS = named('STB_');

const RELOCATION_TYPES: readonly string[] = [
  ...[
    'NONE',
    '64',
    'PC32',
    'GOT32',
    'PLT32',
    'COPY',
    'GLOB_DAT',
    'JUMP_SLOT',
    'RELATIVE',
    'GOTPCREL',
    '32',
    '32S',
  ],
  ...[
    '16',
    'PC16',
    '8',
    'PC8',
    'DTPMOD64',
    'DTPOFF64',
    'TPOFF64',
    'TLSGD',
    'TLSLD',
    'DTPOFF32',
    'GOTTPOFF',
    'TPOFF32',
  ],
  ...[
    'PC64',
    'GOTOFF64',
    'GOTPC32',
    'GOT64',
    'GOTPCREL64',
    'GOTPC64',
    'GOTPLT64',
    'PLTOFF64',
    'SIZE32',
    'SIZE64',
  ],
  ...[
    'GOTPC32_TLSDESC',
    'TLSDESC_CALL',
    'TLSDESC',
    'IRELATIVE',
    'RELATIVE64',
    'PC32_BND',
    'PLT32_BND',
    'GOTPCRELX',
  ],
  'REX_GOTPCRELX',
];

export const segmentTypeName = (type: number): string => spell(SEGMENT_TYPES, type, 'PT_');
export const sectionTypeName = (type: number): string => spell(SECTION_TYPES, type, 'SHT_');
export const dynamicTagName = (tag: number): string => spell(DYNAMIC_TAGS, tag, 'DT_');
export const fileTypeName = (type: number): string => spell(FILE_TYPES, type, 'ET_');
export const symbolTypeName = (type: number): string => spell(SYMBOL_TYPES, type, 'STT_');
export const symbolBindingName = (binding: number): string => spell(SYMBOL_BINDINGS, binding, 'STB_');
export const relocationTypeName = (type: number): string => `R_X86_64_${RELOCATION_TYPES[type] ?? type}`;
