/**
 * Variant `joined`: small libraries and all that linking wrote as areas of the image, laid out as in memory; large ones stay files.
 *
 * Problem. A library is three mappings of its file and two of the image, and its file must be opened: inkscape's start makes
 * 820 system calls for 138 modules. From a copy of all of them in the image it makes 320; but the copy is 136 MiB, on disk and in memory, of this
 * image alone, and no other image or program shares a page of it.
 *
 * Example. 26 of inkscape's libraries have more than 1 MiB of code and constants, 105 MiB together. Each is one mapping of its file, which every
 * image and every other program that uses it has in memory once. Of the other 111, and of the relocated pages and data of all, the image has
 * a copy, each at the place that it has in memory: between two large libraries one mapping shows them all, readable and
 * executable; then the data of each library is made writable. 440 calls, and 30 MiB.
 *
 * Method. Runs of an anchor (place-maps.ts) are cut where clean pages of one file follow each other for long: these stay the file's. What lies
 * between becomes an area; over it lie, by maps of their own, the runs that are written:
 * as the area's pages with another protection, or, where nothing but zeros is there, as anonymous memory. Read-only
 * pages that hold a word which a start writes get a map for the time of that. What has no page (room between
 * modules, pages behind a file's end) is a hole of the image. The program is not joined: the kernel has mapped it, and moving it
 * is one call.
 *
 * Limits. Constants of libraries, and what was relocated in areas with code, become executable, but not more than 1 MiB of a large library; room between segments becomes readable.
 * Code of small libraries is not the same memory as in other images: from wherever they had it in common, it would cost each library the calls that a large one costs.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { Place } from '../model.ts';
import type { ReadRange, Run } from './place-maps.ts';

/** Room between modules that an area goes over. */
const MOST_GAP = 2 ** 24;
/** All areas of an image. */
const MOST_BYTES = 2 ** 30;
/**
 * More pages of code and constants stay their file's. That costs a start four calls more than a copy, some 6 µs: three to open the file and see that it is
 * the same in place of one, two mappings in place of none. A copy costs 1 MiB and more of disk and memory in each image.
 */
export const MOST_COPIED_PAGES = 256;

const ZERO_PAGE = Buffer.alloc(PAGE_SIZE);

/** A word that a start writes. */
export interface WrittenWord {
  readonly at: Place;
  readonly size: number;
}

/**
 * The runs with those of libraries and loader as areas, each followed by what lies over it, and those of large code between them.
 * @param runs ascending within each anchor.
 * @param mostCopied pages of one file that are copied where they follow each other.
 * @throws RangeError where an image would be too large
 */
export function joinRuns(
  runs: readonly Run[],
  words: readonly WrittenWord[],
  read: ReadRange,
  mostCopied: number,
): Run[] {
  const written = writtenPages(words);
  const parts = partsOf(
    runs.filter(({ anchor }) => anchor !== 'program'),
    mostCopied * PAGE_SIZE,
  );
  const size = parts.reduce((sum, part) => sum + (part.kind === 'area' ? sizeOf(part.runs) : 0), 0);
  if (size > MOST_BYTES) throw new RangeError('its modules are too large to be joined');
  const shown = ({ kind, runs: own }: Part): readonly Run[] => {
    if (kind === 'zeros') return own;
    return kind === 'file'
      ? asFew(own, mostCopied * PAGE_SIZE)
      : [show(own, read), ...overlays(own, written)];
  };
  return [...runs.filter(({ anchor }) => anchor === 'program'), ...parts.flatMap(shown)];
}

/** `file`: a stretch of one. `area`: what one mapping of the image shows. */
interface Part {
  readonly kind: 'file' | 'area' | 'zeros';
  readonly runs: readonly Run[];
}

function partsOf(runs: readonly Run[], mostCopied: number): Part[] {
  const parts: Part[] = [];
  let between: Run[] = [];
  const close = (): void => {
    parts.push(...areasOf(between).flatMap(asArea));
    between = [];
  };
  for (const stretch of fileStretches(runs)) {
    if (stretch[0]?.content.kind === 'file' && sizeOf(stretch) > mostCopied) {
      close();
      parts.push({ kind: 'file', runs: stretch });
    } else {
      between.push(...stretch);
    }
  }
  close();
  return parts;
}

/** Runs that one read-only mapping of a file could show together; each other run by itself. */
function fileStretches(runs: readonly Run[]): Run[][] {
  const stretches: Run[][] = [];
  for (const run of runs) {
    const last = stretches.at(-1)?.at(-1);
    if (last !== undefined && goesOn(last, run)) stretches.at(-1)?.push(run);
    else stretches.push([run]);
  }
  return stretches;
}

function goesOn(a: Run, b: Run): boolean {
  if (a.anchor !== b.anchor || a.offset + a.size !== b.offset) return false;
  if (!isConstant(a) || !isConstant(b)) return false;
  const [from, to] = [a.content, b.content];
  return (
    from.kind === 'file' && to.kind === 'file' && from.file === to.file && from.offset + a.size === to.offset
  );
}

const isConstant = ({ protection: { read, write } }: Run): boolean => read && !write;
const isZeros = ({ content }: Run): boolean => content.kind === 'zeros';

/** Zeros at its ends need no pages to lie over. */
function asArea(runs: readonly Run[]): Part[] {
  const first = runs.findIndex((run) => !isZeros(run));
  if (first < 0) return [{ kind: 'zeros', runs }];
  const end = runs.findLastIndex((run) => !isZeros(run)) + 1;
  return [
    { kind: 'zeros', runs: runs.slice(0, first) },
    { kind: 'area', runs: runs.slice(first, end) },
    { kind: 'zeros', runs: runs.slice(end) },
  ];
}

/** What one mapping of them all may do. */
const shownAs = (runs: readonly Run[]): Run['protection'] => ({
  read: true,
  write: false,
  execute: runs.some(({ protection }) => protection.execute),
});

/** One mapping, unless it made much executable that is not: then it is split, by one call more. */
function asFew(runs: readonly Run[], mostExecutable: number): readonly Run[] {
  const [first] = runs;
  const constants = runs.filter(({ protection }) => !protection.execute);
  const bytes = constants.reduce((sum, { size }) => sum + size, 0);
  if (first === undefined || runs.length === 1 || bytes > mostExecutable) return runs;
  return [{ ...first, size: sizeOf(runs), protection: shownAs(runs) }];
}

function areasOf(runs: readonly Run[]): Run[][] {
  const areas: Run[][] = [];
  let last: Run | undefined;
  for (const run of runs) {
    const gap = last?.anchor === run.anchor ? run.offset - last.offset - last.size : Number.POSITIVE_INFINITY;
    if (gap <= MOST_GAP) areas.at(-1)?.push(run);
    else areas.push([run]);
    last = run;
  }
  return areas;
}

const startOf = (area: readonly Run[]): number => area[0]?.offset ?? 0;

function sizeOf(area: readonly Run[]): number {
  const last = area.at(-1);
  return last === undefined ? 0 : last.offset + last.size - startOf(area);
}

function show(area: readonly Run[], read: ReadRange): Run {
  const offset = startOf(area);
  const size = sizeOf(area);
  const pages: Buffer[] = Array.from({ length: size / PAGE_SIZE }, () => ZERO_PAGE);
  for (const run of area) {
    const first = (run.offset - offset) / PAGE_SIZE;
    pagesOf(run, read).forEach((page, index) => {
      pages[first + index] = page;
    });
  }
  const anchor = area[0]?.anchor ?? 'arena';
  return { anchor, offset, size, protection: shownAs(area), content: { kind: 'pages', pages } };
}

/** None for zeros: they are a hole. */
function pagesOf({ content, size }: Run, read: ReadRange): readonly Buffer[] {
  if (content.kind === 'zeros') return [];
  if (content.kind === 'pages') return content.pages;
  const cut = (bytes: Buffer): Buffer[] =>
    Array.from({ length: bytes.length / PAGE_SIZE }, (_, i) =>
      bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE),
    );
  const all = read(content, size);
  if (all !== undefined) return cut(all);
  // The mapping goes on behind the end of its file.
  return Array.from({ length: size / PAGE_SIZE }, (_, i) => {
    const offset = content.offset + i * PAGE_SIZE;
    return read({ file: content.file, offset }, PAGE_SIZE) ?? ZERO_PAGE;
  });
}

function overlays(area: readonly Run[], written: ReadonlySet<string>): Run[] {
  const found: Run[] = [];
  const add = (run: Run): void => {
    const last = found.at(-1);
    const goesOn =
      last !== undefined &&
      last.offset + last.size === run.offset &&
      last.protection.write === run.protection.write &&
      last.protection.execute === run.protection.execute &&
      last.content.kind === 'pages' &&
      run.content.kind === 'pages';
    if (goesOn) found[found.length - 1] = { ...last, size: last.size + run.size };
    else found.push(run);
  };
  for (const run of area) {
    if (run.protection.write) add(run.content.kind === 'zeros' ? run : shownPages(run, run.offset, run.size));
    else
      for (let at = run.offset; at < run.offset + run.size; at += PAGE_SIZE)
        if (written.has(pageName(run.anchor, at))) add(shownPages(run, at, PAGE_SIZE));
  }
  return found;
}

/** Pages of the area with their own protection: the area has their bytes. */
const shownPages = ({ anchor, protection }: Run, offset: number, size: number): Run => ({
  anchor,
  offset,
  size,
  protection,
  content: { kind: 'pages', pages: [] },
});

const pageName = (anchor: Place['anchor'], offset: number): string =>
  `${anchor} ${Math.floor(offset / PAGE_SIZE)}`;

function writtenPages(words: readonly WrittenWord[]): ReadonlySet<string> {
  return new Set(
    words.flatMap(({ at: { anchor, offset }, size }) => [
      pageName(anchor, offset),
      pageName(anchor, offset + size - 1),
    ]),
  );
}
