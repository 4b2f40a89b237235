/** The table of what slides, in NAME.linked: struct linked_slide and its pages. */
import { type UserAddress, userAddress } from '../../base/brands.ts';
import { linkedDamaged } from './linked-errors.ts';
import { LINKED_SLID_PAGE, LINKED_SLIDE, SLID_INTO } from './linked-layout.ts';
import type { PlacedSlide, SlideRange, SlidInto, SlidPage } from './linked-model.ts';

/** Bytes of `SlidPage.words`: a bit for each of a page's words. */
export const SLID_WORDS_SIZE = LINKED_SLID_PAGE.size - LINKED_SLID_PAGE.words;

export function encodeSlide(slide: PlacedSlide | undefined): Buffer {
  if (slide === undefined) return Buffer.alloc(0);
  const { program, rest, pages } = slide;
  const bytes = Buffer.alloc(LINKED_SLIDE.size + pages.length * LINKED_SLID_PAGE.size);
  bytes.writeBigUInt64LE(BigInt(program.unit), LINKED_SLIDE.program_unit);
  bytes.writeBigUInt64LE(BigInt(program.places), LINKED_SLIDE.program_places);
  bytes.writeBigUInt64LE(BigInt(rest.unit), LINKED_SLIDE.unit);
  bytes.writeBigUInt64LE(BigInt(rest.places), LINKED_SLIDE.places);
  bytes.writeUInt32LE(pages.length, LINKED_SLIDE.page_count);
  pages.forEach(({ at, into, words }, index) => {
    const record = bytes.subarray(LINKED_SLIDE.size + index * LINKED_SLID_PAGE.size);
    record.writeBigUInt64LE(BigInt(at), LINKED_SLID_PAGE.at);
    record.writeUInt32LE(SLID_INTO[into], LINKED_SLID_PAGE.into);
    record.set(words, LINKED_SLID_PAGE.words);
  });
  return bytes;
}

/** Where the table that begins at `from` ends; `end` of the head where it does not fit. */
export function slideEnd(bytes: Buffer, from: number, end: number): number {
  if (from + LINKED_SLIDE.size > end) return end + 1;
  return (
    from + LINKED_SLIDE.size + bytes.readUInt32LE(from + LINKED_SLIDE.page_count) * LINKED_SLID_PAGE.size
  );
}

/** @throws WinnowError E_LINKED_DAMAGED */
export function decodeSlide(bytes: Buffer, path: string): Omit<PlacedSlide, 'pagesIn'> {
  const number = (at: number): number => {
    const value = bytes.readBigUInt64LE(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw linkedDamaged(path, 'a number is too large');
    return Number(value);
  };
  const range = (unit: number, places: number): SlideRange => ({
    unit: number(unit),
    places: number(places),
  });
  if (bytes.readUInt32LE(LINKED_SLIDE.reserved) !== 0) throw linkedDamaged(path, 'its slide is wrong');
  const pages: SlidPage[] = [];
  for (let at = LINKED_SLIDE.size; at < bytes.length; at += LINKED_SLID_PAGE.size)
    pages.push(
      readPage(
        bytes.subarray(at, at + LINKED_SLID_PAGE.size),
        userAddress(number(at + LINKED_SLID_PAGE.at)),
        path,
      ),
    );
  return {
    program: range(LINKED_SLIDE.program_unit, LINKED_SLIDE.program_places),
    rest: range(LINKED_SLIDE.unit, LINKED_SLIDE.places),
    pages,
  };
}

function readPage(record: Buffer, at: UserAddress, path: string): SlidPage {
  const into = intoOf(record.readUInt32LE(LINKED_SLID_PAGE.into));
  if (into === undefined || record.readUInt32LE(LINKED_SLID_PAGE.reserved) !== 0)
    throw linkedDamaged(path, 'a page that slides is wrong');
  return { at, into, words: record.subarray(LINKED_SLID_PAGE.words) };
}

function intoOf(number: number): SlidInto | undefined {
  return number === SLID_INTO.program ? 'program' : number === SLID_INTO.rest ? 'rest' : undefined;
}
