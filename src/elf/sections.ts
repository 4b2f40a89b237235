/** Section headers. Programs run without them, so everything the loader needs is found through segments. */
import { type FileOffset, type Rva, rva } from '../base/brands.ts';
import type { ElfBytes } from './bytes.ts';
import { elfError } from './errors.ts';
import type { ElfHeader } from './header.ts';
import * as spec from './spec.ts';
import { StringTable } from './strings.ts';

export interface Section {
  readonly index: number;
  readonly name: string;
  /** `sh_type` */
  readonly type: number;
  /** SHF_… */
  readonly flags: number;
  /** 0 where the section is not in memory. */
  readonly rva: Rva;
  readonly offset: FileOffset;
  /** Bytes in the file, or in memory for SHT_NOBITS. */
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly align: number;
  readonly entrySize: number;
}

type Unnamed = Omit<Section, 'name'> & { readonly nameAt: number };

/** `section 5 (.text)`, for errors. */
export const sectionLabel = (section: Section): string => `section ${section.index} (${section.name})`;

/** All section headers, checked and named. @throws E_ELF_TRUNCATED, _SECTION, _STRING, _VALUE. */
export function readSections(file: ElfBytes, header: ElfHeader): readonly Section[] {
  // The count can come from a 64-bit field: compare before anything is allocated.
  if (header.sectionCount > file.size / spec.SHDR_SIZE) {
    throw elfError('E_ELF_TRUNCATED', {
      path: file.path,
      part: 'section headers',
      what: `${header.sectionCount} section headers do not fit the file's ${file.size} bytes`,
    });
  }
  const table = file.view(header.sectionsAt, header.sectionCount * spec.SHDR_SIZE, 'section headers');
  const unnamed = Array.from({ length: header.sectionCount }, (_, index) => readSection(file, table, index));
  const names = namesOf(file, header, unnamed);
  return unnamed.map(({ nameAt, ...section }) => ({ ...section, name: names?.at(nameAt) ?? '' }));
}

function readSection(file: ElfBytes, table: DataView, index: number): Unnamed {
  const at = index * spec.SHDR_SIZE;
  const part = `section ${index}`;
  const section: Unnamed = {
    index,
    nameAt: table.getUint32(at, true),
    type: table.getUint32(at + 4, true),
    flags: file.u64(table, at + 8, 'sh_flags', part),
    rva: rva(file.u64(table, at + 16, 'sh_addr', part)),
    offset: file.offset(table, at + 24, 'sh_offset', part),
    size: file.u64(table, at + 32, 'sh_size', part),
    link: table.getUint32(at + 40, true),
    info: table.getUint32(at + 44, true),
    align: file.u64(table, at + 48, 'sh_addralign', part),
    entrySize: file.u64(table, at + 56, 'sh_entsize', part),
  };
  if (!Number.isSafeInteger(section.rva + section.size)) {
    throw elfError('E_ELF_SECTION', { path: file.path, part, what: 'sh_addr + sh_size pass 2^53' });
  }
  // Section 0 is SHT_NULL and may hold counts in its fields; SHT_NOBITS has no bytes in the file.
  const inFile = section.type !== spec.SHT_NULL && section.type !== spec.SHT_NOBITS;
  if (inFile) file.range(section.offset, section.size, part);
  return section;
}

function namesOf(file: ElfBytes, header: ElfHeader, sections: readonly Unnamed[]): StringTable | undefined {
  if (header.namesSection === spec.SHN_UNDEF) return undefined;
  const part = `section ${header.namesSection}`;
  const section = sections[header.namesSection];
  if (section?.type !== spec.SHT_STRTAB) {
    const what = section === undefined ? 'e_shstrndx names no section' : 'e_shstrndx names no string table';
    throw elfError('E_ELF_SECTION', { path: file.path, part, what });
  }
  return new StringTable(file.path, 'section names', file.range(section.offset, section.size, part));
}

/** The string table that `section.link` names. @throws E_ELF_SECTION where it names another thing. */
export function linkedStrings(file: ElfBytes, sections: readonly Section[], section: Section): StringTable {
  const strings = sections[section.link];
  if (strings?.type !== spec.SHT_STRTAB) {
    throw elfError('E_ELF_SECTION', {
      path: file.path,
      part: sectionLabel(section),
      what: `sh_link is ${section.link}, which is no string table`,
    });
  }
  const part = sectionLabel(strings);
  return new StringTable(file.path, part, file.range(strings.offset, strings.size, part));
}

/** A section's table of records of `recordSize` bytes. @throws E_ELF_SECTION where the sizes disagree. */
export function sectionTable(file: ElfBytes, section: Section, recordSize: number): DataView {
  const part = sectionLabel(section);
  if (section.entrySize !== recordSize || section.size % recordSize !== 0) {
    throw elfError('E_ELF_SECTION', {
      path: file.path,
      part,
      what: `${section.size} bytes in records of ${section.entrySize}: the records should have ${recordSize}`,
    });
  }
  return file.view(section.offset, section.size, part);
}
