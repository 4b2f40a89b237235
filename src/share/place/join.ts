/**
 * Variant `joined`: all that the loader mapped as one area of the image, laid out as in memory.
 *
 * Problem. A library is three mappings of its file and two of the image, and its file must be opened: inkscape's start makes
 * 800 system calls for 138 modules.
 *
 * Example. The image has a copy of every page of inkscape's libraries, each at the place that it has in memory. One
 * mapping shows them all, readable and executable; then the data of each library is made writable: 140 calls.
 *
 * Method. Runs of an anchor (place-maps.ts) become an area; over it lie, by maps of their own, the runs that are written:
 * as the area's pages with another protection, or, where nothing but zeros is there, as anonymous memory. Read-only
 * pages that hold a word which a start writes get a map for the time of that. What has no page (room between
 * modules, pages behind a file's end) is a hole of the file. The program is not joined: the kernel has mapped it, and moving it
 * is one call.
 *
 * Limits. Constants and what was relocated become executable, room between segments readable, and code is no longer the same
 * memory as in programs that are not from this image.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { Place } from '../model.ts';
import type { ReadRange, Run } from './place-maps.ts';

/** Room between modules that an area goes over. */
const MOST_GAP = 2 ** 24;
/** All areas of an image. */
const MOST_BYTES = 2 ** 30;

const ZERO_PAGE = Buffer.alloc(PAGE_SIZE);
const SHOWN = { read: true, write: false, execute: true } as const;

/** A word that a start writes. */
export interface WrittenWord {
  readonly at: Place;
  readonly size: number;
}

/**
 * The runs with those of libraries and loader as areas, each followed by what lies over it.
 * @param runs ascending within each anchor.
 * @throws RangeError where an image would be too large
 */
export function joinRuns(runs: readonly Run[], words: readonly WrittenWord[], read: ReadRange): Run[] {
  const joined = areasOf(runs.filter(({ anchor }) => anchor !== 'program'));
  const size = joined.reduce((sum, area) => sum + sizeOf(area), 0);
  if (size > MOST_BYTES) throw new RangeError('its modules are too large to be joined');
  const written = writtenPages(words);
  return [
    ...runs.filter(({ anchor }) => anchor === 'program'),
    ...joined.flatMap((area) => [show(area, read), ...overlays(area, written)]),
  ];
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
  return { anchor, offset, size, protection: SHOWN, content: { kind: 'pages', pages } };
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
