/**
 * Which pages of a module can stand in the store alone.
 *
 * Problem: taking only recognised functions out of a module leaves assembly without unwind information, a third of a large
 * BLAS, standing twice. But a page of which nothing is left in the file must not be read as zeros.
 *
 * Example: libopenblas has 32 MB of code, of which 9 MB are kernels in assembly. All of it is on pages that hold nothing else.
 *
 * Method: nobody has to understand what is fetched back whole and at its place. The audit object hides such pages
 * (PROT_NONE), and whatever first touches one, fetch or read, brings its chunk. So a page can be hidden if only the processor touches it:
 * it lies in executable sections throughout. Unwind tables are read by the processor alone, too, when something is thrown.
 *
 * Limits: a system call that is given the address of hidden bytes fails with EFAULT where it would read them. So pages
 * stay on which a symbol says that there is data, and those with text that no function claims; other constants in
 * code sections, without a symbol, may still be given to a system call.
 */
import { PAGE_SIZE } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import {
  EHDR_SIZE,
  PF_W,
  PF_X,
  PHDR_SIZE,
  PT_LOAD,
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHF_TLS,
  SHT_NOBITS,
  STT_OBJECT,
} from '../elf/spec.ts';
import type { Unit } from '../rewrite/model.ts';
import { COLD_HIDDEN_MAX } from './cold-layout.ts';

/** Whole pages of a module, in RVAs, that follow each other in its file as well. */
export interface PageRange {
  readonly start: number;
  readonly end: number;
  /** Where the first byte stands in the file, had it been mapped from a page's start: may be negative. */
  readonly offset: number;
  /** Whether it is executed, and not read alone. */
  readonly isCode: boolean;
}

type Segment = ElfImage['segments'][number];

const pageOf = (at: number): number => at - (at % PAGE_SIZE);
const pageAfter = (at: number): number => Math.ceil(at / PAGE_SIZE) * PAGE_SIZE;

export const codeSegments = (image: ElfImage): readonly Segment[] =>
  image.segments.filter(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0);

/** All pages of the executable segments, ascending. */
export function codeRanges(image: ElfImage): PageRange[] {
  return codeSegments(image)
    .map(({ rva, memSize, offset }) => ({
      start: pageOf(rva),
      end: pageAfter(rva + memSize),
      offset: offset - (rva % PAGE_SIZE),
      isCode: true,
    }))
    .sort((a, b) => a.start - b.start);
}

const UNWIND_SECTIONS = ['.eh_frame_hdr', '.eh_frame', '.gcc_except_table'];
/** Between two sections, for alignment. */
const MOST_PADDING = 64;
/** Of less, a row of the store and the kernel's work to hide it are not worth it. */
const LEAST_TABLE = 2 * PAGE_SIZE;

/** The whole pages of a rewritten module's unwind tables, where they lie beside all of `code`; ascending. */
export function unwindRanges(rewritten: ElfImage, code: readonly PageRange[]): PageRange[] {
  const joined: { start: number; end: number; segment: Segment }[] = [];
  const sections = rewritten.sections
    .filter(
      ({ name, type, flags }) =>
        UNWIND_SECTIONS.includes(name) && type !== SHT_NOBITS && (flags & SHF_ALLOC) !== 0,
    )
    .sort((a, b) => a.rva - b.rva);
  for (const { rva, size } of sections) {
    const segment = rewritten.segmentOf(rva);
    if (segment === undefined || !isReadAlone(rewritten, segment)) continue;
    const last = joined.at(-1);
    if (last?.segment === segment && rva - last.end < MOST_PADDING) last.end = Math.max(last.end, rva + size);
    else joined.push({ start: rva, end: rva + size, segment });
  }
  return joined
    .map(({ start, end, segment }) => ({
      start: pageAfter(start),
      end: pageOf(end),
      offset: segment.offset + (pageAfter(start) - segment.rva),
      isCode: (segment.flags & PF_X) !== 0,
    }))
    .filter(
      ({ start, end }) =>
        end - start >= LEAST_TABLE && !code.some((range) => range.start < end && range.end > start),
    );
}

const isReadAlone = (image: ElfImage, segment: Segment): boolean =>
  (segment.flags & PF_W) === 0 &&
  segment.offset % PAGE_SIZE === segment.rva % PAGE_SIZE &&
  standsAlone(image, segment);

/**
 * Runs of pages of the executable segments that can be hidden, ascending.
 *
 * @param units ascending, as analysis gives them.
 */
export function hiddenCode(image: ElfImage, units: readonly Unit[]): PageRange[] {
  const visible = visiblePages(image, units);
  const runs = codeSegments(image)
    .filter((segment) => standsAlone(image, segment))
    .flatMap((segment) => hiddenRuns(segment, visible));
  const longest = [...runs].sort((a, b) => b.end - b.start - (a.end - a.start)).slice(0, COLD_HIDDEN_MAX - 1);
  return longest.sort((a, b) => a.start - b.start);
}

/** Other segments may map the same bytes, and then they are read there. */
const standsAlone = (image: ElfImage, { index, offset, fileSize }: Segment): boolean =>
  image.segments.every(
    (other) =>
      other.type !== PT_LOAD ||
      other.index === index ||
      other.offset >= offset + fileSize ||
      other.offset + other.fileSize <= offset,
  );

function hiddenRuns({ rva, memSize, offset }: Segment, visible: ReadonlySet<number>): PageRange[] {
  const runs: { start: number; end: number; offset: number; isCode: true }[] = [];
  for (let page = pageOf(rva); page < rva + memSize; page += PAGE_SIZE) {
    if (visible.has(page)) continue;
    const last = runs.at(-1);
    if (last?.end === page) last.end += PAGE_SIZE;
    else runs.push({ start: page, end: page + PAGE_SIZE, offset: offset + (page - rva), isCode: true });
  }
  return runs;
}

/** RVAs of pages of executable segments on which there is, or may be, something that is no code. */
function visiblePages(image: ElfImage, units: readonly Unit[]): Set<number> {
  const pages = new Set<number>();
  const show = (from: number, to: number): void => {
    for (let page = pageOf(from); page < to; page += PAGE_SIZE) pages.add(page);
  };
  const { segmentsAt, segmentCount } = image.header;
  const headers = Math.max(EHDR_SIZE, segmentsAt + segmentCount * PHDR_SIZE);
  for (const segment of codeSegments(image)) {
    show(segment.rva, segment.rva + Math.min(headers - segment.offset, segment.fileSize));
    for (const [from, to] of betweenSections(image, segment)) show(from, to);
  }
  for (const { type, rva, memSize } of image.segments) if (type !== PT_LOAD) show(rva, rva + memSize);
  for (const { type, rva, size } of [...image.staticSymbols, ...image.symbols])
    if (type === STT_OBJECT && rva !== undefined) show(rva, rva + Math.max(size, 1));
  for (const [from, to] of gaps(image, units)) for (const [at, end] of texts(image, from, to)) show(at, end);
  return pages;
}

/** Parts of an executable segment that no executable section covers, and that are not all zeros. */
function betweenSections(image: ElfImage, { rva, fileSize }: Segment): [number, number][] {
  const code = image.sections
    .filter(
      ({ flags, type, rva: at, size }) =>
        (flags & (SHF_ALLOC | SHF_EXECINSTR | SHF_TLS)) === (SHF_ALLOC | SHF_EXECINSTR) &&
        type !== SHT_NOBITS &&
        at < rva + fileSize &&
        at + size > rva,
    )
    .sort((a, b) => a.rva - b.rva);
  const parts: [number, number][] = [];
  let at: number = rva;
  for (const section of code) {
    if (section.rva > at) parts.push([at, section.rva]);
    at = Math.max(at, section.rva + section.size);
  }
  if (at < rva + fileSize) parts.push([at, rva + fileSize]);
  return parts.filter(([from, to]) => !bytesAt(image, from, to).every((byte) => byte === 0));
}

/** What lies between units. */
function gaps(image: ElfImage, units: readonly Unit[]): [number, number][] {
  return codeSegments(image).flatMap(({ rva, fileSize }) => {
    const found: [number, number][] = [];
    let at: number = rva;
    for (const { start, end } of units) {
      if (end <= rva || start >= rva + fileSize) continue;
      if (start > at) found.push([at, start]);
      at = Math.max(at, end);
    }
    if (at < rva + fileSize) found.push([at, rva + fileSize]);
    return found;
  });
}

/** Characters before the zero that ends them: fewer are found in instructions too. */
const LEAST_TEXT = 6;

const isPrintable = (byte: number): boolean =>
  (byte >= 0x20 && byte < 0x7f) || byte === 0x09 || byte === 0x0a;

function texts(image: ElfImage, from: number, to: number): [number, number][] {
  const found: [number, number][] = [];
  const bytes = bytesAt(image, from, to);
  let length = 0;
  bytes.forEach((byte, index) => {
    if (byte === 0 && length >= LEAST_TEXT) found.push([from + index - length, from + index + 1]);
    length = isPrintable(byte) ? length + 1 : 0;
  });
  return found;
}

function bytesAt(image: ElfImage, from: number, to: number): Uint8Array {
  const segment = codeSegments(image).find(({ rva, fileSize }) => from >= rva && to <= rva + fileSize);
  if (segment === undefined) return new Uint8Array();
  const offset = segment.offset + (from - segment.rva);
  return image.bytes.subarray(offset, offset + (to - from));
}

/** Overwrites hidden pages with zeros, but no byte of a neighbour that shares a page of the file; returns how many those are. */
export function cutHidden(rewritten: ElfImage, hidden: readonly PageRange[], bytes: Uint8Array): number {
  let cut = 0;
  for (const { start, end } of hidden)
    for (const { type, rva, fileSize, offset } of rewritten.segments) {
      const from = Math.max(start, rva);
      const to = Math.min(end, rva + fileSize);
      if (type !== PT_LOAD || to <= from) continue;
      bytes.fill(0, offset + (from - rva), offset + (to - rva));
      cut += to - from;
    }
  return cut;
}
