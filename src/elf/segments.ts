/** Program headers, and the map between addresses and places in the file that PT_LOAD segments make. */
import { type FileOffset, fileOffset, type Rva, rva } from '../base/brands.ts';
import type { ElfBytes } from './bytes.ts';
import { elfError } from './errors.ts';
import type { ElfHeader } from './header.ts';
import { segmentTypeName } from './names.ts';
import * as spec from './spec.ts';

export interface Segment {
  readonly index: number;
  /** `p_type` */
  readonly type: number;
  /** PF_R, PF_W, PF_X */
  readonly flags: number;
  readonly offset: FileOffset;
  readonly rva: Rva;
  /** `p_paddr`: means nothing on Linux; kept to be shown. */
  readonly physical: number;
  /** Bytes in the file; the rest of `memSize` is zero in memory. */
  readonly fileSize: number;
  readonly memSize: number;
  readonly align: number;
}

/** `segment 3 (PT_LOAD)`, for errors. */
export const segmentLabel = (index: number, type: number): string =>
  `segment ${index} (${segmentTypeName(type)})`;

/** All program headers, checked. @throws E_ELF_TRUNCATED, E_ELF_SEGMENT, E_ELF_VALUE. */
export function readSegments(file: ElfBytes, header: ElfHeader): readonly Segment[] {
  const size = header.segmentCount * spec.PHDR_SIZE;
  const table = file.view(header.segmentsAt, size, 'program headers');
  return Array.from({ length: header.segmentCount }, (_, index) => readSegment(file, table, index));
}

function readSegment(file: ElfBytes, table: DataView, index: number): Segment {
  const at = index * spec.PHDR_SIZE;
  const type = table.getUint32(at, true);
  const part = segmentLabel(index, type);
  const segment: Segment = {
    index,
    type,
    flags: table.getUint32(at + 4, true),
    offset: file.offset(table, at + 8, 'p_offset', part),
    rva: rva(file.u64(table, at + 16, 'p_vaddr', part)),
    physical: file.u64(table, at + 24, 'p_paddr', part),
    fileSize: file.u64(table, at + 32, 'p_filesz', part),
    memSize: file.u64(table, at + 40, 'p_memsz', part),
    align: file.u64(table, at + 48, 'p_align', part),
  };
  checkSegment(file, segment, part);
  return segment;
}

function checkSegment(file: ElfBytes, segment: Segment, part: string): void {
  const fail = (what: string): never => {
    throw elfError('E_ELF_SEGMENT', { path: file.path, part, what });
  };
  // Of unused segments (PT_NULL) too: so that whoever adds the two need not ask what kind it is.
  if (!Number.isSafeInteger(segment.rva + segment.memSize)) fail('p_vaddr + p_memsz pass 2^53');
  if (segment.type === spec.PT_NULL) return;
  file.range(segment.offset, segment.fileSize, part);
  if (segment.type !== spec.PT_LOAD) return;
  const { align } = segment;
  if (segment.fileSize > segment.memSize)
    fail(`p_filesz ${segment.fileSize} is above p_memsz ${segment.memSize}`);
  if (align <= 1) return;
  if (!Number.isInteger(Math.log2(align))) fail(`p_align is ${align}, no power of two`);
  if (segment.rva % align !== segment.offset % align) fail('p_vaddr and p_offset differ modulo p_align');
}

/** Answers where an address stands in the file, and the other way round, in logarithmic time. */
export class SegmentMap {
  readonly #byRva: readonly Segment[];
  readonly #byOffset: readonly Segment[];

  /** @throws E_ELF_SEGMENT where two PT_LOAD segments share addresses. */
  constructor(path: string, segments: readonly Segment[]) {
    const loads = segments.filter(({ type, memSize }) => type === spec.PT_LOAD && memSize > 0);
    this.#byRva = loads.toSorted((a, b) => a.rva - b.rva);
    this.#byOffset = loads.filter(({ fileSize }) => fileSize > 0).toSorted((a, b) => a.offset - b.offset);
    this.#byRva.forEach((segment, i) => {
      const before = this.#byRva[i - 1];
      if (before === undefined || before.rva + before.memSize <= segment.rva) return;
      throw elfError('E_ELF_SEGMENT', {
        path,
        part: segmentLabel(segment.index, segment.type),
        what: `its addresses overlap those of segment ${before.index}`,
      });
    });
  }

  /** The PT_LOAD segment whose memory holds the address. */
  segmentOf(at: Rva): Segment | undefined {
    const found = lastNotAbove(this.#byRva, ({ rva }) => rva, at);
    const segment = this.#byRva[found];
    return segment !== undefined && at - segment.rva < segment.memSize ? segment : undefined;
  }

  /** Where the byte of an address stands in the file; undefined for .bss and outside of segments. */
  offsetOf(at: Rva): FileOffset | undefined {
    const segment = this.segmentOf(at);
    if (segment === undefined || at - segment.rva >= segment.fileSize) return undefined;
    return fileOffset(segment.offset + (at - segment.rva));
  }

  /** The address of a byte of the file; undefined where no PT_LOAD segment loads it. */
  rvaOf(offset: FileOffset): Rva | undefined {
    // Ranges in the file may overlap (a linker can load one part twice), so earlier ones are asked too.
    for (let i = lastNotAbove(this.#byOffset, (segment) => segment.offset, offset); i >= 0; i--) {
      const segment = this.#byOffset[i];
      if (segment !== undefined && offset - segment.offset < segment.fileSize) {
        return rva(segment.rva + (offset - segment.offset));
      }
    }
    return undefined;
  }
}

/** Index of the last segment whose key is at most `value`, or -1. The keys ascend. */
function lastNotAbove(
  segments: readonly Segment[],
  key: (segment: Segment) => number,
  value: number,
): number {
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const segment = segments[middle];
    if (segment !== undefined && key(segment) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
