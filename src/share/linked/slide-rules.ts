/** What holds of the slide of every NAME.linked: wherever a start chooses, maps stay in order, and no word is written twice. */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { PlacedFixUp, PlacedImage, PlacedMap, PlacedSlide, SlideRange } from './linked-model.ts';
import { SLID_WORDS_SIZE } from './linked-slide.ts';

const WORD = 8;

/** How far a start may move it, bytes. */
export const farthest = ({ unit, places }: SlideRange): number => (places - 1) * unit;

const isRange = ({ unit, places }: SlideRange, end: number): boolean =>
  Number.isSafeInteger(unit) &&
  unit > 0 &&
  unit % PAGE_SIZE === 0 &&
  Number.isSafeInteger(places) &&
  places > 0 &&
  places <= Math.floor(end / unit);

/** @param end of the user half. @param shown the map whose own bytes an address has; undefined: none, as of an area. */
export function wrongSlide(
  image: PlacedImage,
  end: number,
  shown: (at: number) => PlacedMap | undefined,
): string | undefined {
  const { slide } = image;
  if (slide === undefined) return image.fixUps.some(isSlid) ? 'a word slides where nothing does' : undefined;
  if (!isRange(slide.program, end) || !isRange(slide.rest, end)) return 'it slides by no whole pages';
  if (!staysInOrder(image, slide, end)) return 'what slides leaves its room';
  return wrongPages(image, slide, shown);
}

const isSlid = ({ kind }: PlacedFixUp): boolean => kind === 'slid-program' || kind === 'slid-rest';

/** The program below all else, wherever both are. */
function staysInOrder(
  { maps, program }: PlacedImage,
  { program: own, rest }: PlacedSlide,
  end: number,
): boolean {
  const from = program.at + program.first;
  const to = from + program.size;
  return maps.every(({ at, size }) => {
    if (at >= from && at < to) return at + size <= to;
    return at + size + farthest(rest) <= end && (at < from ? farthest(own) === 0 : at >= to + farthest(own));
  });
}

function wrongPages(
  { fixUps }: PlacedImage,
  { pages }: PlacedSlide,
  shown: (at: number) => PlacedMap | undefined,
): string | undefined {
  const taken = new Map<number, Buffer>();
  let last: PlacedSlide['pages'][number] | undefined;
  for (const page of pages) {
    const { at, into, words } = page;
    const isNext = last === undefined || at > last.at || (at === last.at && last.into < into);
    if (!isNext || at % PAGE_SIZE !== 0) return 'pages that slide are not in order';
    if (words.length !== SLID_WORDS_SIZE || words.every((byte) => byte === 0))
      return 'a page slides in no word';
    if (shown(at)?.source.kind !== 'pages') return 'a page that slides is none of the image';
    const other = last?.at === at ? last.words : undefined;
    if (other?.some((byte, index) => (byte & (words[index] ?? 0)) !== 0)) return 'a word slides twice';
    taken.set(at, other === undefined ? words : or(other, words));
    last = page;
  }
  return fixUps.some((word) => overlaps(word, taken)) ? 'a fix-up lies in a word that slides' : undefined;
}

const or = (a: Buffer, b: Buffer): Buffer => Buffer.from(a.map((byte, index) => byte | (b[index] ?? 0)));

function overlaps({ at, size }: PlacedFixUp, taken: ReadonlyMap<number, Buffer>): boolean {
  for (let word = at - (at % WORD); word < at + size; word += WORD) {
    const bit = (word % PAGE_SIZE) / WORD;
    const byte = taken.get(word - (word % PAGE_SIZE))?.[bit >> 3] ?? 0;
    if (((byte >> (bit & 7)) & 1) !== 0) return true;
  }
  return false;
}
