/** What slides, in NAME.linked: what is refused. That it is read back as it was written is in linked-codec.test.ts. */
import { describe, expect, it } from 'vitest';
import { CODE, page, slid, slide, slidPage, small, WRITE } from '../../../test/support/placed-images.ts';
import { PAGE_SIZE, userAddress } from '../../base/brands.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import { decodeLinked } from './linked-decode.ts';
import { encodeLinked } from './linked-encode.ts';
import type { PlacedImage, PlacedMap, PlacedSlide } from './linked-model.ts';

describe('the slide of NAME.linked', () => {
  const [argc, guard] = small.fixUps;
  if (argc === undefined || guard === undefined) throw new Error('fix-ups');
  const twoPages = Buffer.alloc(2 * PAGE_SIZE);
  const area: PlacedMap = {
    at: page(180),
    size: 2 * PAGE_SIZE,
    source: { kind: 'pages', offset: 0 },
    protection: CODE,
  };
  const over: PlacedMap = {
    at: page(181),
    size: PAGE_SIZE,
    source: { kind: 'pages', offset: PAGE_SIZE },
    protection: WRITE,
  };

  const sliding = (change: Partial<PlacedSlide>): Partial<PlacedImage> => ({
    slide: { ...slide, ...change },
  });
  const zeros64 = { ...slidPage(1, 'rest'), words: Buffer.alloc(64) };

  it.each<[string, Partial<PlacedImage>, RegExp]>([
    ['a unit of part of a page', sliding({ rest: { unit: 100, places: 2 } }), /whole pages/],
    ['no unit', sliding({ program: { unit: 0, places: 1 } }), /whole pages/],
    ['no place', sliding({ program: { unit: PAGE_SIZE, places: 0 } }), /whole pages/],
    ['more places than there are', sliding({ rest: { unit: PAGE_SIZE, places: 2 ** 40 } }), /whole pages/],
    ['a slide out of the user half', sliding({ rest: { unit: PAGE_SIZE, places: 2 ** 35 - 1 } }), /room/],
    [
      'a program that may slide into libraries',
      sliding({ program: { unit: PAGE_SIZE, places: 98 } }),
      /room/,
    ],
    [
      'a page that is not aligned',
      sliding({ pages: [{ ...zeros64, at: userAddress(page(1) + 8) }] }),
      /order/,
    ],
    ['pages out of order', sliding({ pages: [...slide.pages].reverse() }), /order/],
    ['a page twice', sliding({ pages: [slidPage(1, 'rest', 1), slidPage(1, 'rest', 2)] }), /order/],
    ['a page without words', sliding({ pages: [zeros64] }), /no word/],
    ['too few words', sliding({ pages: [{ ...zeros64, words: Buffer.alloc(63, 1) }] }), /no word/],
    ['a page of a file', sliding({ pages: [slidPage(0, 'rest', 1)] }), /none of the image/],
    ['a page of zeros', sliding({ pages: [slidPage(2, 'rest', 1)] }), /none of the image/],
    ['a page nowhere', sliding({ pages: [slidPage(9, 'rest', 1)] }), /none of the image/],
    [
      'a word that slides twice',
      sliding({ pages: [slidPage(1, 'program', 3), slidPage(1, 'rest', 3)] }),
      /twice/,
    ],
    ['a word that slides and is written', sliding({ pages: [slidPage(1, 'rest', 1)] }), /fix-up/],
    [
      'a fix-up half in a word that slides',
      { fixUps: [{ ...argc, at: userAddress(page(1) + 4) }] },
      /fix-up/,
    ],
    [
      'a page of an area itself',
      {
        isJoined: true,
        maps: [...small.maps, area, over],
        pages: twoPages,
        ...sliding({ pages: [slidPage(180, 'rest', 1)] }),
      },
      /none of the image/,
    ],
    ['half a word that slides', { fixUps: [{ ...argc, kind: 'slid-rest' }] }, /half/],
    [
      'a word that slides where nothing does',
      { slide: undefined, fixUps: [{ ...guard, kind: 'slid-rest' }] },
      /nothing/,
    ],
  ])('is not written with %s', (_what, change, why) => {
    expect(() => encodeLinked({ ...slid, ...change })).toThrow(why);
  });

  it('has page-in in version 4 alone, and with a slide alone', () => {
    const paged = { ...slid, slide: { ...slide, pagesIn: true } };
    const bytes = encodeLinked(paged);
    expect(bytes.readUInt32LE(ENVELOPE.version)).toBe(4);
    expect(decodeLinked(bytes, 'x').slide?.pagesIn).toBe(true);
    expect(decodeLinked(encodeLinked(slid), 'x').slide?.pagesIn).toBe(false);
    for (const [image, version] of [
      [paged, 3],
      [slid, 4],
    ] as const) {
      const other = encodeLinked(image);
      other.writeUInt32LE(version, ENVELOPE.version);
      expect(() => decodeLinked(other, 'x')).toThrow(/page-in/);
    }
  });

  it('has no slide in version 2, and one in version 3', () => {
    const versioned = (bytes: Buffer, version: number): Buffer => {
      bytes.writeUInt32LE(version, ENVELOPE.version);
      return bytes;
    };
    expect(encodeLinked(small).readUInt32LE(ENVELOPE.version)).toBe(2);
    expect(encodeLinked(slid).readUInt32LE(ENVELOPE.version)).toBe(3);
    expect(() => decodeLinked(versioned(encodeLinked(slid), 2), 'x')).toThrow(/slide/);
    expect(() => decodeLinked(versioned(encodeLinked(small), 3), 'x')).toThrow(/slide/);
  });
});
