/**
 * Which mappings show the placed image: as few as can be.
 *
 * Problem. Relocation wrote some pages of a mapping and left others, so each mapping falls into runs, and each run is
 * a system call at every start and a mapping in every process.
 *
 * Example. `.data` of a library: two pages that were written, three that were not, one that was, and two pages of
 * zeros (.bss): four mappings; with the three and the two copied into the image, one.
 *
 * Method. Neighbours that end where the next begins, with one protection, are looked at together. Short runs of
 * clean pages between written ones, or beside them, are taken into the image: a mapping costs 1 to 2 µs
 * each time, a page 4 KiB on disk once. So are all pages of libraries that are small (take.ts).
 *
 * Limits. Clean pages behind the end of their file cannot be copied, and are not.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { Anchor, FileRange, LinkedMapping, Protection } from '../model.ts';

/** Pages copied to save two mappings, and to save one. */
const BETWEEN_PAGES = 16;
const BESIDE_PAGES = 8;

/** Pages that follow each other and are shown by one mapping. */
export interface Run {
  readonly anchor: Anchor;
  /** From the anchor's base. */
  readonly offset: number;
  readonly size: number;
  readonly protection: Protection;
  readonly content: Content;
}

export type Content =
  | { readonly kind: 'pages'; readonly pages: readonly Buffer[] }
  | { readonly kind: 'file'; readonly file: number; readonly offset: number }
  | { readonly kind: 'zeros' };

/** `size` bytes of a file, fewer where it ends, zeros behind its end up to a page; undefined where a page lies behind its end. */
export type ReadRange = (range: FileRange, size: number) => Buffer | undefined;

const ZERO_PAGE = Buffer.alloc(PAGE_SIZE);

/**
 * @param mappings ascending within each anchor.
 * @param isTaken whether the image has all pages of a file.
 */
export function runsOf(
  mappings: readonly LinkedMapping[],
  read: ReadRange,
  isTaken: (file: number) => boolean,
): Run[] {
  const runs: Run[] = [];
  const take = (run: Run): Run =>
    run.content.kind === 'file' && isTaken(run.content.file) ? asPages(run, read) : run;
  for (const stretch of stretches(mappings))
    runs.push(...joined(filled(stretch.flatMap(split).map(take), read)));
  return runs;
}

const isSame = (a: Protection, b: Protection): boolean =>
  a.read === b.read && a.write === b.write && a.execute === b.execute;

const isNone = ({ read, write, execute }: Protection): boolean => !read && !write && !execute;

function stretches(mappings: readonly LinkedMapping[]): LinkedMapping[][] {
  const all: LinkedMapping[][] = [];
  let last: LinkedMapping | undefined;
  for (const mapping of mappings) {
    const follows =
      last !== undefined &&
      last.place.anchor === mapping.place.anchor &&
      last.place.offset + last.size === mapping.place.offset &&
      isSame(last.protection, mapping.protection);
    if (follows) all.at(-1)?.push(mapping);
    else all.push([mapping]);
    last = mapping;
  }
  return all;
}

function split({ place, size, protection, source, dirty }: LinkedMapping): Run[] {
  const { anchor, offset } = place;
  // Room between segments: nobody sees what it is made of.
  if (isNone(protection)) return [{ anchor, offset, size, protection, content: { kind: 'zeros' } }];
  const runs: Run[] = [];
  let at = 0;
  const clean = (end: number): void => {
    if (end === at) return;
    const content: Content =
      source === undefined
        ? { kind: 'zeros' }
        : { kind: 'file', file: source.file, offset: source.offset + at };
    runs.push({ anchor, offset: offset + at, size: end - at, protection, content });
    at = end;
  };
  for (const page of dirty) {
    clean(page.offset);
    const pages = [page.bytes];
    runs.push({
      anchor,
      offset: offset + at,
      size: PAGE_SIZE,
      protection,
      content: { kind: 'pages', pages },
    });
    at += PAGE_SIZE;
  }
  clean(size);
  return joined(runs);
}

/** Short clean runs as pages of the image. */
function filled(runs: readonly Run[], read: ReadRange): Run[] {
  const isWritten = (run: Run | undefined): boolean => run?.content.kind === 'pages';
  // Over several clean runs: zeros may follow a file's pages.
  const reach = (from: number, step: 1 | -1): boolean => {
    let size = 0;
    for (let i = from + step; size <= BETWEEN_PAGES * PAGE_SIZE; i += step) {
      const run = runs[i];
      if (run === undefined) return false;
      if (isWritten(run)) return true;
      size += run.size;
    }
    return false;
  };
  return runs.map((run, index) => {
    if (isWritten(run)) return run;
    const sides = Number(reach(index, -1)) + Number(reach(index, 1));
    const most = sides === 2 ? BETWEEN_PAGES : sides === 1 ? BESIDE_PAGES : 0;
    if (run.size > most * PAGE_SIZE) return run;
    return asPages(run, read);
  });
}

/** As it was where a page lies behind the end of its file. */
function asPages(run: Run, read: ReadRange): Run {
  const pages = pagesOf(run, read);
  return pages === undefined ? run : { ...run, content: { kind: 'pages', pages } };
}

function pagesOf({ content, size }: Run, read: ReadRange): Buffer[] | undefined {
  const count = size / PAGE_SIZE;
  if (content.kind === 'zeros') return Array.from({ length: count }, () => ZERO_PAGE);
  if (content.kind === 'pages') return [...content.pages];
  const bytes = read(content, size);
  if (bytes === undefined) return undefined;
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE));
}

/** Neighbours of one kind as one run. */
function joined(runs: readonly Run[]): Run[] {
  const groups: Run[][] = [];
  for (const run of runs) {
    const group = groups.at(-1);
    const last = group?.at(-1);
    if (group !== undefined && last !== undefined && goesOn(last, run)) group.push(run);
    else groups.push([run]);
  }
  return groups.flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const size = group.reduce((sum, run) => sum + run.size, 0);
    if (first.content.kind !== 'pages') return [{ ...first, size }];
    const pages = group.flatMap(({ content }) => (content.kind === 'pages' ? content.pages : []));
    return [{ ...first, size, content: { kind: 'pages', pages } }];
  });
}

/** Whether one mapping can show both. */
function goesOn(a: Run, b: Run): boolean {
  if (a.anchor !== b.anchor || a.offset + a.size !== b.offset || !isSame(a.protection, b.protection))
    return false;
  const [first, second] = [a.content, b.content];
  if (first.kind === 'file')
    return second.kind === 'file' && first.file === second.file && first.offset + a.size === second.offset;
  return first.kind === second.kind;
}
