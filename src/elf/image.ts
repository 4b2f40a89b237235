/** One ELF file, parsed: what the rest of winnow asks of it. Small tables at once, large ones when asked for. */
import type { FileOffset, Rva } from '../base/brands.ts';
import type { ElfBytes } from './bytes.ts';
import { DynamicTables, readDynamic } from './dynamic.ts';
import { elfError } from './errors.ts';
import type { ElfHeader } from './header.ts';
import { lazy } from './lazy.ts';
import { buildIdIn } from './notes.ts';
import {
  dynamicRelocationTables,
  type Relocation,
  type RelocationTable,
  sectionRelocationTables,
} from './relocations.ts';
import type { Section } from './sections.ts';
import { type Segment, SegmentMap, segmentLabel } from './segments.ts';
import * as spec from './spec.ts';
import { countDynamicSymbols } from './symbol-count.ts';
import { type ElfSymbol, readDynamicSymbols, readStaticSymbols } from './symbols.ts';

/**
 * The header, segments, sections and dynamic entries are checked when the image is made. The other
 * properties read their tables when they are first asked for, and throw a WinnowError (E_ELF_…) then
 * if the tables are damaged.
 */
export class ElfImage {
  readonly path: string;
  /** The whole file. */
  readonly bytes: Uint8Array;
  readonly header: ElfHeader;
  readonly segments: readonly Segment[];
  /** Empty where they are stripped. */
  readonly sections: readonly Section[];
  readonly dynamic: DynamicTables;
  readonly #file: ElfBytes;
  readonly #map: SegmentMap;

  constructor(file: ElfBytes, header: ElfHeader, segments: readonly Segment[], sections: readonly Section[]) {
    this.#file = file;
    this.#map = new SegmentMap(file.path, segments);
    this.path = file.path;
    this.bytes = file.bytes;
    this.header = header;
    this.segments = segments;
    this.sections = sections;
    this.dynamic = new DynamicTables(file, this.#map, readDynamic(file, segments, sections));
  }

  /** The PT_LOAD segment whose memory holds the address. */
  segmentOf(at: Rva): Segment | undefined {
    return this.#map.segmentOf(at);
  }

  /** Where the byte of an address stands in the file; undefined for .bss and outside of segments. */
  offsetOf(at: Rva): FileOffset | undefined {
    return this.#map.offsetOf(at);
  }

  /** The address that a byte of the file is loaded to; undefined where it is not loaded. */
  rvaOf(offset: FileOffset): Rva | undefined {
    return this.#map.rvaOf(offset);
  }

  /** DT_NEEDED, in order. */
  get needed(): readonly string[] {
    return this.#needed();
  }

  get soname(): string | undefined {
    return this.#string(spec.DT_SONAME);
  }

  get rpath(): string | undefined {
    return this.#string(spec.DT_RPATH);
  }

  get runpath(): string | undefined {
    return this.#string(spec.DT_RUNPATH);
  }

  /** The dynamic loader that PT_INTERP names. */
  get interp(): string | undefined {
    return this.#interp();
  }

  /** GNU build-id, lower-case hexadecimal digits. */
  get buildId(): string | undefined {
    return this.#buildId();
  }

  /** The dynamic symbols; symbol 0 is the empty one. */
  get symbols(): readonly ElfSymbol[] {
    return this.#symbols();
  }

  /** The symbols of .symtab; empty where it is stripped. */
  get staticSymbols(): readonly ElfSymbol[] {
    return this.#staticSymbols();
  }

  /** What is applied before the program's own code runs; `symbol` counts in `symbols`. None in ET_REL. */
  get relocations(): readonly Relocation[] {
    return this.#relocations();
  }

  /** The tables behind `relocations`, as the dynamic section tells them. */
  get dynamicRelocations(): readonly RelocationTable[] {
    return this.#dynamicRelocations();
  }

  /** The tables that section headers tell: the same ones, and those of object files or kept by the linker. */
  get sectionRelocations(): readonly RelocationTable[] {
    return this.#sectionRelocations();
  }

  readonly #strings = lazy(() => this.dynamic.strings());

  readonly #needed = lazy(() =>
    this.dynamic.entries
      .filter(({ tag }) => tag === spec.DT_NEEDED)
      .map(({ value }) => this.#strings().at(value)),
  );

  readonly #interp = lazy(() => {
    const segment = this.segments.find(({ type }) => type === spec.PT_INTERP);
    // A file of debugging data keeps the header of the segment without its bytes.
    if (segment === undefined || segment.fileSize === 0) return undefined;
    const part = segmentLabel(segment.index, segment.type);
    const bytes = this.#file.range(segment.offset, segment.fileSize, part);
    const end = bytes.indexOf(0);
    if (end <= 0) {
      throw elfError('E_ELF_SEGMENT', {
        path: this.path,
        part,
        what: 'the path of the dynamic loader has no end',
      });
    }
    return Buffer.from(bytes.subarray(0, end)).toString();
  });

  readonly #buildId = lazy(() => {
    let room = this.bytes.length;
    const inRange = (offset: FileOffset, size: number, align: number, part: string): string | undefined => {
      room -= size;
      // Overlapping notes without measure: a crafted file could make us read it thousands of times.
      return room < 0 ? undefined : buildIdIn(this.#file.range(offset, size, part), align);
    };
    for (const { index, type, offset, fileSize, align } of this.segments) {
      if (type !== spec.PT_NOTE) continue;
      const found = inRange(offset, fileSize, align, segmentLabel(index, type));
      if (found !== undefined) return found;
    }
    for (const { index, type, offset, size, align } of this.sections) {
      if (type !== spec.SHT_NOTE) continue;
      const found = inRange(offset, size, align, `section ${index}`);
      if (found !== undefined) return found;
    }
    return undefined;
  });

  readonly #symbols = lazy(() => {
    const count = countDynamicSymbols(this.dynamic, this.sections, () =>
      this.dynamicRelocations.reduce(
        (high, table) => table.relocations.reduce((h, r) => Math.max(h, r.symbol), high),
        0,
      ),
    );
    return readDynamicSymbols(this.#file, this.dynamic, count);
  });

  readonly #staticSymbols = lazy(() =>
    readStaticSymbols(this.#file, this.sections, this.header.type !== spec.ET_REL),
  );

  readonly #dynamicRelocations = lazy(() =>
    dynamicRelocationTables({ file: this.#file, map: this.#map }, this.dynamic),
  );

  readonly #sectionRelocations = lazy(() =>
    sectionRelocationTables({ file: this.#file, map: this.#map }, this.sections),
  );

  readonly #relocations = lazy(() => {
    const dynamic = this.#dynamicRelocations();
    // A static program without dynamic section relocates itself: its start-up code walks .rela.plt.
    if (this.dynamic.entries.length > 0) return dynamic.flatMap(({ relocations }) => relocations);
    const loaded = this.sections.filter(({ flags }) => (flags & spec.SHF_ALLOC) !== 0);
    const own = sectionRelocationTables({ file: this.#file, map: this.#map }, loaded);
    return own.flatMap(({ relocations }) => relocations);
  });

  #string(tag: number): string | undefined {
    const at = this.dynamic.value(tag);
    return at === undefined ? undefined : this.#strings().at(at);
  }
}
