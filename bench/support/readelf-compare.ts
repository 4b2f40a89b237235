/**
 * winnow's ELF reader against readelf, field by field.
 *
 * Shared by the differential test (a sample of files) and the bench (all of them). Every difference is a
 * sentence; a file that winnow refuses agrees only where readelf says that it is for another machine
 * or class.
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { WinnowError } from '../../src/base/errors.ts';
import { readBuildId } from '../../src/elf/build-id.ts';
import type { ElfImage } from '../../src/elf/image.ts';
import { readElf } from '../../src/elf/read.ts';
import type { ElfSymbol } from '../../src/elf/symbols.ts';
import { Differences } from './readelf-differences.ts';
import {
  dynamicText,
  sectionFlags,
  sectionTypes,
  segmentTypes,
  symbolBinds,
  symbolTypes,
  VISIBILITIES,
} from './readelf-names.ts';
import {
  askReadelf,
  type Judgement,
  type JudgeSection,
  type JudgeSegment,
  type JudgeSymbol,
} from './readelf-parse.ts';

export interface Comparison {
  readonly path: string;
  /** Refused by winnow for its machine or class, and readelf agrees that it is such a file. */
  readonly refused: boolean;
  readonly differences: readonly string[];
  /** Records compared: so that an empty comparison cannot pass for agreement. */
  readonly compared: {
    sections: number;
    segments: number;
    dynamic: number;
    symbols: number;
    relocations: number;
    buildIds: number;
  };
}

const FOREIGN = ['E_ELF_CLASS', 'E_ELF_MACHINE', 'E_ELF_DATA'];
/** A file with one fault has it in every record; ten say enough. */
const MOST_DIFFERENCES = 10;

/**
 * Compares one file. Throws only where the file or readelf cannot be read.
 *
 * @param bytes what winnow reads; other than the file's own only to test that differences are seen.
 */
export function compareWithReadelf(path: string, bytes: Uint8Array = readFileSync(path)): Comparison {
  const judge = askReadelf(path);
  const judged = new Differences();
  let refused = false;
  try {
    const image = readElf(bytes, path);
    compareImage(image, judge, judged);
    compareProbe(path, image, judge, judged);
    compareStripped(bytes, judge, judged);
  } catch (error) {
    if (!(error instanceof WinnowError)) throw error;
    refused = FOREIGN.includes(error.code) && isForeign(judge);
    if (!refused) judged.list.push(`winnow refuses it: ${error.message} (${error.where})`);
  }
  return { path, refused, differences: judged.list.slice(0, MOST_DIFFERENCES), compared: judged.compared };
}

function isForeign(judge: Judgement): boolean {
  const { header } = judge;
  const x86 = header.get('Machine') === 'Advanced Micro Devices X86-64';
  return header.get('Class') !== 'ELF64' || !x86 || header.get('Data') !== "2's complement, little endian";
}

function compareImage(image: ElfImage, judge: Judgement, judged: Differences): void {
  compareHeader(image, judge, judged);
  compareSections(image, judge, judged);
  compareSegments(image, judge, judged);
  compareDynamic(image, judge, judged);
  // readelf finds symbols and relocations by section headers; without them it has no opinion.
  if (judge.sections.length > 0) {
    compareSymbols(image, image.symbols, 'dynsym', judge, judged);
    compareSymbols(image, image.staticSymbols, 'symtab', judge, judged);
    compareRelocations(image, judge, judged);
  }
  // readelf names every note's build-id; a file joined from objects that each have one has several.
  judged.expect('build-id', image.buildId ?? 'none', judge.buildIds[0] ?? 'none');
  judged.compared.buildIds += judge.buildIds.length > 0 ? 1 : 0;
}

function compareHeader({ header }: ElfImage, judge: Judgement, judged: Differences): void {
  const number = (key: string): number => Number(judge.header.get(key)?.split(' ')[0]);
  // A count that stands in section header 0 is printed as `0 (70000)`.
  const count = (key: string): number =>
    Number(/\((\d+)\)/.exec(judge.header.get(key) ?? '')?.[1] ?? number(key));
  const types: Record<string, number> = { NONE: 0, REL: 1, EXEC: 2, DYN: 3, CORE: 4 };
  judged.expect('e_type', header.type, types[judge.header.get('Type')?.split(' ')[0] ?? ''] ?? -1);
  judged.expect('e_entry', header.entry, number('Entry point address'));
  judged.expect('e_phoff', header.segmentsAt, number('Start of program headers'));
  judged.expect('e_shoff', header.sectionsAt, number('Start of section headers'));
  judged.expect('e_flags', header.flags, number('Flags'));
  judged.expect('e_ehsize', header.headerSize, number('Size of this header'));
  judged.expect('e_phnum', header.segmentCount, count('Number of program headers'));
  judged.expect('e_shnum', header.sectionCount, count('Number of section headers'));
  judged.expect('e_shstrndx', header.namesSection, count('Section header string table index'));
  judged.expect('ABI version', header.abiVersion, number('ABI Version'));
}

function compareSections(image: ElfImage, judge: Judgement, judged: Differences): void {
  judged.expect('number of sections', image.sections.length, judge.sections.length);
  judge.sections.forEach((theirs, i) => {
    const ours = image.sections[i];
    if (ours === undefined) return;
    const { rva, offset, size, entrySize, link, info, align } = ours;
    judged.expect(`section ${i}: name`, ours.name, theirs.name);
    judged.expect(`section ${i}: type`, sectionTypes(ours.type), theirs.type);
    judged.expect(`section ${i}`, [rva, offset, size, entrySize, link, info, align], theirs.numbers);
    judged.expect(`section ${i}: flags`, sectionFlags(ours.flags, image.header.osAbi), theirs.flags);
    judged.compared.sections++;
  });
}

function compareSegments(image: ElfImage, judge: Judgement, judged: Differences): void {
  judged.expect('number of segments', image.segments.length, judge.segments.length);
  judge.segments.forEach((theirs, i) => {
    const ours = image.segments[i];
    if (ours === undefined) return;
    const { offset, rva, physical, fileSize, memSize, align, flags } = ours;
    judged.expect(`segment ${i}: type`, segmentTypes(ours.type), theirs.type);
    judged.expect(`segment ${i}`, [offset, rva, physical, fileSize, memSize, align], theirs.numbers);
    const letters = `${flags & 4 ? 'R' : ''}${flags & 2 ? 'W' : ''}${flags & 1 ? 'E' : ''}`;
    judged.expect(`segment ${i}: flags`, letters, theirs.flags);
    judged.compared.segments++;
  });
  judged.expect('interpreter', image.interp ?? 'none', judge.interp ?? 'none');
}

function compareDynamic(image: ElfImage, judge: Judgement, judged: Differences): void {
  const theirs = judge.dynamic.filter(({ tag }) => tag !== 0);
  const ours = image.dynamic.entries;
  judged.expect('number of dynamic entries', ours.length, theirs.length);
  const strings = ours.length > 0 ? image.dynamic.strings() : undefined;
  theirs.forEach(({ tag, text }, i) => {
    const entry = ours[i];
    if (entry === undefined) return;
    judged.expect(`dynamic entry ${i}: tag`, entry.tag, tag);
    judged.expect(
      `dynamic entry ${i}`,
      dynamicText(entry, text, (at) => strings?.at(at) ?? ''),
      text,
    );
    judged.compared.dynamic++;
  });
  const names = (key: string): string[] =>
    theirs.flatMap(({ text }) => /\[(.*)\]$/.exec(text.startsWith(key) ? text : '')?.[1] ?? []);
  judged.expect('needed', image.needed, names('Shared library:'));
  judged.expect('soname', image.soname ?? 'none', names('Library soname:')[0] ?? 'none');
  judged.expect('rpath', image.rpath ?? 'none', names('Library rpath:')[0] ?? 'none');
  judged.expect('runpath', image.runpath ?? 'none', names('Library runpath:')[0] ?? 'none');
}

function compareSymbols(
  { header }: ElfImage,

  ours: readonly ElfSymbol[],
  which: string,
  judge: Judgement,
  judged: Differences,
): void {
  const table = judge.symbolTables.get(`.${which}`);
  const theirs = table?.symbols ?? [];
  judged.expect(`${which}: rows read of readelf's own`, theirs.length, table?.count ?? 0);
  judged.expect(`${which}: number of symbols`, ours.length, theirs.length);
  theirs.forEach((symbol, i) => {
    const own = ours[i];
    if (own === undefined || judged.list.length > MOST_DIFFERENCES) return;
    compareSymbol(`${which} symbol ${i}`, own, header.osAbi, symbol, judged);
    judged.compared.symbols++;
  });
}

function compareSymbol(
  what: string,
  own: ElfSymbol,
  osAbi: number,
  theirs: JudgeSymbol,
  judged: Differences,
): void {
  const place =
    own.section ?? { 0: 'UND', 65521: 'ABS', 65522: 'COM' }[own.shndx] ?? `0x${own.shndx.toString(16)}`;
  judged.expect(
    what,
    [
      own.value,
      own.size,
      symbolTypes(own.type, osAbi),
      symbolBinds(own.binding, osAbi),
      VISIBILITIES[own.visibility],
      place,
    ],
    [
      theirs.value,
      theirs.size,
      theirs.type,
      theirs.bind,
      theirs.vis,
      theirs.ndx.replace(/^[A-Z]+ ?\[(.*)\]$/, '$1'),
    ],
  );
  // readelf lends section symbols the name of their section, and escapes bytes that are no text.
  if (own.type === 3 && own.name === '') return;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: such bytes are what readelf escapes
  if (/[\u0000-\u001f\u007f\ufffd]/.test(own.name)) return;
  // The symbol that a version definition makes for itself: readelf leaves its version out.
  const version = own.version?.name === own.name ? undefined : own.version;
  const mark = version?.hidden || version?.library !== undefined ? '@' : '@@';
  const name = version === undefined ? own.name : `${own.name}${mark}${version.name}`;
  // The number in brackets is readelf's note of the version's index.
  judged.expect(`${what}: name`, name, theirs.name.replace(/ \(\d+\)$/, ''));
}

function compareRelocations(image: ElfImage, judge: Judgement, judged: Differences): void {
  const tables = image.sectionRelocations.filter(({ size }) => size > 0);
  judged.expect(
    'relocation tables',
    tables.map(({ name }) => name),
    judge.relocationTables.map(({ name }) => name),
  );
  judge.relocationTables.forEach((theirs, i) => {
    const ours = tables[i];
    if (ours === undefined) return;
    judged.expect(`${theirs.name}: offset`, ours.offset, theirs.offset);
    const entries = ours.kind === 'relr' ? ours.size / 8 : ours.relocations.length;
    judged.expect(`${theirs.name}: records`, entries, theirs.count);
    judged.expect(`${theirs.name}: rows`, ours.relocations.length, theirs.rows.length);
    theirs.rows.forEach((row, k) => {
      const own = ours.relocations[k];
      if (own === undefined || judged.list.length > MOST_DIFFERENCES) return;
      const info = (BigInt(own.symbol) << 32n) | BigInt(own.type);
      const fields = ours.kind === 'relr' ? [BigInt(own.rva)] : [BigInt(own.rva), info, own.addend];
      if (fields.some((field, f) => field !== row[f])) judged.expect(`${theirs.name} row ${k}`, fields, row);
      judged.compared.relocations++;
    });
  });
  compareApplied(image, judge, judged);
}

/** What the dynamic section says is applied must be what the tables in memory hold, by readelf's own rows. */
function compareApplied(image: ElfImage, judge: Judgement, judged: Differences): void {
  if (judge.dynamic.length === 0) return;
  const loaded = judge.relocationTables.filter(({ name }) =>
    image.sections.some((s) => s.name === name && (s.flags & 2) !== 0),
  );
  const theirs = loaded.reduce((sum, { rows }) => sum + rows.length, 0);
  judged.expect('relocations applied', image.relocations.length, theirs);
}

/** The quick reader of build-ids, which sees program headers only: Go's linker leaves the note out of PT_NOTE. */
function compareProbe(path: string, image: ElfImage, judge: Judgement, judged: Differences): void {
  if (image.segments.length === 0) return;
  const note = judge.sections.find(({ name }) => name === '.note.gnu.build-id');
  const loaded =
    note === undefined || judge.segments.some((segment) => segment.type === 'NOTE' && holds(segment, note));
  const theirs = (loaded ? judge.buildIds[0] : undefined) ?? 'none';
  const fd = openSync(path, 'r');
  try {
    judged.expect('readBuildId', readBuildId(fd, fstatSync(fd).size) ?? 'none', theirs);
  } finally {
    closeSync(fd);
  }
}

function holds(segment: JudgeSegment, section: JudgeSection): boolean {
  const [start = 0, , , size = 0] = segment.numbers;
  const [, offset = 0, length = 0] = section.numbers;
  return offset >= start && offset + length <= start + size;
}

/** The same file without section headers: what the loader needs must come from the segments alone. */
function compareStripped(bytes: Uint8Array, judge: Judgement, judged: Differences): void {
  if (judge.dynamic.length === 0 || judge.sections.length === 0) return;
  const copy = Uint8Array.from(bytes);
  const view = new DataView(copy.buffer);
  view.setBigUint64(40, 0n, true);
  view.setUint32(60, 0, true);
  const stripped = readElf(copy, 'the file without section headers');
  judged.expect('stripped: symbols', stripped.symbols.length, judge.symbolTables.get('.dynsym')?.count ?? 0);
  judged.expect('stripped: build-id', stripped.buildId ?? 'none', judge.buildIds[0] ?? 'none');
  const names = new Set(judge.relocationTables.map(({ name }) => name));
  if (names.size > 0) {
    const whole = readElf(bytes, 'whole');
    judged.expect('stripped: relocations', stripped.relocations.length, whole.relocations.length);
  }
}
