/** What `winnow inspect` says of an ELF file: plain data, made from the image. `inspect-text.ts` words it. */
import type { ElfImage } from '../elf/image.ts';
import {
  fileTypeName,
  relocationTypeName,
  sectionTypeName,
  segmentTypeName,
  symbolBindingName,
  symbolTypeName,
} from '../elf/names.ts';
import type { Relocation } from '../elf/relocations.ts';
import { ET_REL, PF_R, PF_W, PF_X, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE } from '../elf/spec.ts';
import type { ElfSymbol } from '../elf/symbols.ts';

export interface InspectedSegment {
  readonly type: string;
  /** `r-x` */
  readonly flags: string;
  readonly offset: number;
  readonly rva: number;
  readonly fileSize: number;
  readonly memSize: number;
  readonly align: number;
}

export interface InspectedSection {
  readonly name: string;
  readonly type: string;
  /** `awx`: allocated, writable, executable; a dash where not. */
  readonly flags: string;
  readonly rva: number;
  readonly offset: number;
  readonly size: number;
}

export interface InspectedSymbol {
  readonly name: string;
  /** `GLIBC_2.34`, and the library where the symbol is needed. */
  readonly version?: string;
  readonly library?: string;
  readonly value: bigint;
  readonly size: number;
  readonly type: string;
  readonly binding: string;
  readonly defined: boolean;
}

export interface InspectedRelocation {
  readonly rva: number;
  readonly type: string;
  readonly symbol?: string;
  readonly addend: bigint;
}

export interface Inspection {
  readonly path: string;
  readonly size: number;
  readonly type: string;
  readonly entry: number;
  readonly interp?: string;
  readonly soname?: string;
  readonly buildId?: string;
  readonly rpath?: string;
  readonly runpath?: string;
  readonly needed: readonly string[];
  readonly segments: readonly InspectedSegment[];
  readonly sections: readonly InspectedSection[];
  readonly symbolCounts: { readonly dynamic: number; readonly static: number };
  /** Most frequent first. */
  readonly relocationCounts: readonly { readonly type: string; readonly count: number }[];
  /** With `symbols`: the dynamic ones, or those of an object file. */
  readonly symbols?: readonly InspectedSymbol[];
  readonly relocations?: readonly InspectedRelocation[];
}

export interface InspectOptions {
  readonly symbols?: boolean;
  readonly relocations?: boolean;
}

/** Everything that is asked for about one image. @throws WinnowError (E_ELF_…) where a table is damaged. */
export function inspect(image: ElfImage, options: InspectOptions): Inspection {
  const relocations = relocationsOf(image);
  const symbols = symbolsOf(image);
  return {
    path: image.path,
    size: image.bytes.length,
    type: fileTypeName(image.header.type),
    entry: image.header.entry,
    ...namesOf(image),
    needed: image.needed,
    segments: segmentsOf(image),
    sections: sectionsOf(image),
    symbolCounts: { dynamic: image.symbols.length, static: image.staticSymbols.length },
    relocationCounts: countByType(relocations),
    ...(options.symbols ? { symbols: symbols.filter(({ index }) => index > 0).map(inspectSymbol) } : {}),
    ...(options.relocations
      ? { relocations: relocations.map((one) => inspectRelocation(one, symbols)) }
      : {}),
  };
}

function namesOf(
  image: ElfImage,
): Partial<Pick<Inspection, 'interp' | 'soname' | 'buildId' | 'rpath' | 'runpath'>> {
  const { interp, soname, buildId, rpath, runpath } = image;
  return {
    ...(interp === undefined ? {} : { interp }),
    ...(soname === undefined ? {} : { soname }),
    ...(buildId === undefined ? {} : { buildId }),
    ...(rpath === undefined ? {} : { rpath }),
    ...(runpath === undefined ? {} : { runpath }),
  };
}

/** Object files are linked by their section tables; everything else is relocated by what is loaded. */
function relocationsOf(image: ElfImage): readonly Relocation[] {
  if (image.header.type !== ET_REL) return image.relocations;
  return image.sectionRelocations.flatMap(({ relocations }) => relocations);
}

const symbolsOf = (image: ElfImage): readonly ElfSymbol[] =>
  image.header.type === ET_REL ? image.staticSymbols : image.symbols;

const letters = (flags: number, from: readonly (readonly [number, string])[]): string =>
  from.map(([bit, letter]) => (Math.floor(flags / bit) % 2 === 1 ? letter : '-')).join('');

function segmentsOf(image: ElfImage): readonly InspectedSegment[] {
  return image.segments.map(({ type, flags, offset, rva, fileSize, memSize, align }) => ({
    type: segmentTypeName(type),
    flags: letters(flags, [
      [PF_R, 'r'],
      [PF_W, 'w'],
      [PF_X, 'x'],
    ]),
    offset,
    rva,
    fileSize,
    memSize,
    align,
  }));
}

function sectionsOf(image: ElfImage): readonly InspectedSection[] {
  return image.sections.map(({ name, type, flags, rva, offset, size }) => ({
    name,
    type: sectionTypeName(type),
    flags: letters(flags, [
      [SHF_ALLOC, 'a'],
      [SHF_WRITE, 'w'],
      [SHF_EXECINSTR, 'x'],
    ]),
    rva,
    offset,
    size,
  }));
}

function countByType(relocations: readonly Relocation[]): Inspection['relocationCounts'] {
  const counts = new Map<number, number>();
  for (const { type } of relocations) counts.set(type, (counts.get(type) ?? 0) + 1);
  return [...counts]
    .toSorted(([a, m], [b, n]) => n - m || a - b)
    .map(([type, count]) => ({ type: relocationTypeName(type), count }));
}

function inspectSymbol({ name, version, value, size, type, binding, shndx }: ElfSymbol): InspectedSymbol {
  return {
    name,
    ...(version === undefined ? {} : { version: version.name }),
    ...(version?.library === undefined ? {} : { library: version.library }),
    value,
    size,
    type: symbolTypeName(type),
    binding: symbolBindingName(binding),
    defined: shndx !== 0,
  };
}

function inspectRelocation(relocation: Relocation, symbols: readonly ElfSymbol[]): InspectedRelocation {
  const { rva, type, symbol, addend } = relocation;
  const name = symbol === 0 ? undefined : (symbols[symbol]?.name ?? `symbol ${symbol}`);
  return { rva, type: relocationTypeName(type), ...(name === undefined ? {} : { symbol: name }), addend };
}
