/** The dynamic section: what the file tells the dynamic loader. */
import { rva } from '../base/brands.ts';
import { type ElfBytes, viewOf } from './bytes.ts';
import { elfError } from './errors.ts';
import { dynamicTagName } from './names.ts';
import type { Section } from './sections.ts';
import { type Segment, type SegmentMap, segmentLabel } from './segments.ts';
import * as spec from './spec.ts';
import { StringTable } from './strings.ts';

export interface DynamicEntry {
  /** `d_tag`: DT_… */
  readonly tag: number;
  /** `d_val` or `d_ptr` */
  readonly value: number;
}

/** The entries before DT_NULL; none where the file is static. @throws E_ELF_VALUE, E_ELF_TRUNCATED. */
export function readDynamic(
  file: ElfBytes,
  segments: readonly Segment[],
  sections: readonly Section[],
): readonly DynamicEntry[] {
  const segment = segments.find(({ type }) => type === spec.PT_DYNAMIC);
  if (segment !== undefined) {
    return readEntries(file, segment.offset, segment.fileSize, segmentLabel(segment.index, segment.type));
  }
  // Without program headers (a file of debugging data, an odd object file) sections are all there is.
  const section = sections.find(({ type }) => type === spec.SHT_DYNAMIC);
  return section === undefined
    ? []
    : readEntries(file, section.offset, section.size, `section ${section.index}`);
}

function readEntries(file: ElfBytes, offset: number, size: number, part: string): readonly DynamicEntry[] {
  const view = file.view(offset, size, part);
  const entries: DynamicEntry[] = [];
  for (let at = 0; at + spec.DYN_SIZE <= view.byteLength; at += spec.DYN_SIZE) {
    const tag = file.u64(view, at, 'd_tag', part);
    if (tag === spec.DT_NULL) break;
    entries.push({ tag, value: file.u64(view, at + 8, dynamicTagName(tag), part) });
  }
  return entries;
}

/** The dynamic section with what its addresses point to. */
export class DynamicTables {
  readonly entries: readonly DynamicEntry[];
  readonly #file: ElfBytes;
  readonly #map: SegmentMap;
  readonly #byTag: ReadonlyMap<number, number>;

  constructor(file: ElfBytes, map: SegmentMap, entries: readonly DynamicEntry[]) {
    this.#file = file;
    this.#map = map;
    this.entries = entries;
    this.#byTag = new Map(entries.map(({ tag, value }) => [tag, value]));
  }

  /** The value of a tag; like ld.so, the last one where the tag stands twice. */
  value(tag: number): number | undefined {
    return this.#byTag.get(tag);
  }

  /** The file's bytes at the address in a tag: `size` of them, or up to the end of the segment's file part. */
  table(tag: number, size?: number): DataView {
    return viewOf(this.#bytesAt(tag, size));
  }

  /** Offset in the file of the table that a tag's address points to. */
  offsetOf(tag: number): number {
    return this.#bytesAt(tag, 0).byteOffset - this.#file.bytes.byteOffset;
  }

  /** DT_STRTAB, DT_STRSZ bytes. @throws E_ELF_DYNAMIC where one of them is missing or outside. */
  strings(): StringTable {
    const size = this.value(spec.DT_STRSZ);
    if (size === undefined) this.fail(spec.DT_STRSZ, 'the tag is missing');
    return new StringTable(this.#file.path, 'DT_STRTAB', this.#bytesAt(spec.DT_STRTAB, size));
  }

  /** @throws E_ELF_DYNAMIC unless the tag is absent or says the size that the specification says. */
  expectRecordSize(tag: number, size: number): void {
    const value = this.value(tag);
    if (value !== undefined && value !== size)
      this.fail(tag, `the size of a record is ${value}, not ${size}`);
  }

  fail(tag: number, what: string): never {
    throw elfError('E_ELF_DYNAMIC', { path: this.#file.path, part: dynamicTagName(tag), what });
  }

  #bytesAt(tag: number, size: number | undefined): Uint8Array {
    const address = this.value(tag);
    if (address === undefined) this.fail(tag, 'the tag is missing');
    const offset = this.#map.offsetOf(rva(address));
    const segment = this.#map.segmentOf(rva(address));
    if (offset === undefined || segment === undefined) {
      this.fail(tag, `address 0x${address.toString(16)} is in no segment's part of the file`);
    }
    const room = segment.offset + segment.fileSize - offset;
    if (size !== undefined && size > room) {
      this.fail(tag, `${size} bytes at 0x${address.toString(16)} go past segment ${segment.index}`);
    }
    return this.#file.range(offset, size ?? room, dynamicTagName(tag));
  }
}
