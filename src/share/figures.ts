/** What a linked program's image is made of, counted. */
import { PAGE_SIZE } from '../base/brands.ts';
import type { JoinedFigures, SharedProgram, SlideFigures, TakenFigures } from './built.ts';
import { countNames } from './explain.ts';
import type { PlacedImage, PlacedSlide, SlideRange } from './linked/linked-model.ts';
import { mapAt } from './linked/linked-rules.ts';
import type { LinkedState } from './model.ts';
import type { Bases } from './place/addresses.ts';
import type { DirectCalls } from './place/direct-calls.ts';
import type { PageIn } from './place/page-in.ts';

export function figuresOf(state: LinkedState, placed: PlacedImage, bytes: number): SharedProgram['figures'] {
  return {
    modules: state.files.length,
    maps: placed.maps.length,
    loaderMaps: state.mappings.length,
    pages: placed.pages.length / PAGE_SIZE,
    linkedPages: state.mappings.reduce((sum, { dirty }) => sum + dirty.length, 0),
    pointers: state.pointers.reduce((sum, { at }) => sum + at.length, 0),
    watches: placed.watches.length,
    bytes,
    fixUps: countNames(state.fixUps.map(({ kind }) => kind)),
    leftovers: countNames(state.leftovers.map(({ cause }) => cause)),
  };
}

export function joinedFigures(
  { mappings }: LinkedState,
  bases: Bases,
  { maps }: Pick<PlacedImage, 'maps'>,
  calls: DirectCalls | undefined,
): JoinedFigures {
  const bytes = { copied: 0, shared: 0, executable: 0 };
  for (const { place, size, protection, source, dirty } of mappings) {
    if (place.anchor === 'program' || !protection.read || protection.write) continue;
    const written = new Set(dirty.map(({ offset }) => offset));
    for (let inside = 0; inside < size; inside += PAGE_SIZE) {
      const map = mapAt(maps, bases[place.anchor] + place.offset + inside);
      if (map?.source.kind === 'file') bytes.shared += PAGE_SIZE;
      else if (source !== undefined && !written.has(inside)) bytes.copied += PAGE_SIZE;
      if (map?.protection.execute === true && !protection.execute) bytes.executable += PAGE_SIZE;
    }
  }
  if (calls === undefined) return bytes;
  const { direct, far } = calls;
  return { ...bytes, calls: { direct, far } };
}

/** @param taken clean pages of each library that is taken. */
export function takenFigures(taken: ReadonlyMap<number, number>): TakenFigures {
  const pages = [...taken.values()].reduce((sum, count) => sum + count, 0);
  return { libraries: taken.size, bytes: pages * PAGE_SIZE };
}

const bitsOf = ({ places }: SlideRange): number => Math.log2(places);

export function slideFigures(
  { program, rest, pages }: PlacedSlide,
  fixUps: PlacedImage['fixUps'],
  pageIn: PageIn | undefined,
): SlideFigures {
  const odd = fixUps.filter(({ kind }) => kind === 'slid-program' || kind === 'slid-rest');
  return {
    programBits: bitsOf(program),
    modulesBits: bitsOf(rest),
    pages: new Set(pages.map(({ at }) => at)).size,
    oddWords: odd.length,
    ...(pageIn === undefined ? {} : { pageIn }),
  };
}

const offsetsOfPages = (size: number): number[] =>
  Array.from({ length: size / PAGE_SIZE }, (_, index) => index * PAGE_SIZE);

/** Pages of files that nobody maps any more. @param taken files of which the image has all. */
export function replacedPages(
  { files, mappings }: LinkedState,
  taken: { has(file: number): boolean },
): SharedProgram['replaced'] {
  const pages = files.map(() => new Set<number>());
  for (const { source, size, dirty } of mappings) {
    if (source === undefined) continue;
    const held = taken.has(source.file) ? offsetsOfPages(size) : dirty.map(({ offset }) => offset);
    for (const offset of held) pages[source.file]?.add((source.offset + offset) / PAGE_SIZE);
  }
  return files.flatMap(({ path }, index) => {
    const found = [...(pages[index] ?? [])].sort((a, b) => a - b);
    return found.length === 0 ? [] : [{ path, pages: found }];
  });
}
