/** Sliding: what a start adds makes of an image the one that would have been placed there. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { around, random, state } from '../../../test/support/linked-states.ts';
import { PAGE_SIZE } from '../../base/brands.ts';
import type { PlacedImage, SlidInto } from '../linked/linked-model.ts';
import { mapAt } from '../linked/linked-rules.ts';
import type { LinkedState } from '../model.ts';
import { ARENA_RANGE, chooseBases, PROGRAM_RANGE } from './addresses.ts';
import { placeLinked } from './place.ts';

type Slides = Readonly<Record<SlidInto, number>>;

/** As runtime/restore-slide.c does it: adds to words of the image's pages, wherever they stand. */
function pagesSlid(image: PlacedImage, slides: Slides): Buffer {
  const pages = Buffer.from(image.pages);
  const byteAt = (at: number): number => {
    const map = mapAt(image.maps, at);
    if (map?.source.kind !== 'pages') throw new Error(`nothing of the image at ${at.toString(16)}`);
    return map.source.offset + at - map.at;
  };
  const add = (at: number, slide: number): void => {
    const bytes = Buffer.from(Array.from({ length: 8 }, (_, i) => pages[byteAt(at + i)] ?? 0));
    bytes.writeBigUInt64LE(BigInt.asUintN(64, bytes.readBigUInt64LE() + BigInt(slide)));
    bytes.forEach((byte, i) => {
      pages[byteAt(at + i)] = byte;
    });
  };
  for (const { at, into, words } of image.slide?.pages ?? []) {
    for (let word = 0; word < PAGE_SIZE / 8; word += 1)
      if ((((words[word >> 3] ?? 0) >> (word & 7)) & 1) !== 0) add(at + word * 8, slides[into]);
  }
  for (const { at, kind } of image.fixUps) {
    if (kind === 'slid-program') add(at, slides.program);
    if (kind === 'slid-rest') add(at, slides.rest);
  }
  return pages;
}

const isSlid = ({ kind }: PlacedImage['fixUps'][number]): boolean =>
  kind === 'slid-program' || kind === 'slid-rest';

describe('an image whose addresses slide', () => {
  it.each(['files', 'joined'] as const)('is the one that would be placed there: %s', (variant) => {
    fc.assert(
      fc.property(state, random, fc.double({ min: 0, max: 1, noNaN: true }), (linked, dice, far) => {
        const bases = chooseBases(linked, dice, { slides: true });
        const image = placeLinked(linked, bases, { ...around, variant, slides: true });
        const { slide } = image;
        if (slide === undefined) throw new Error('it does not slide');
        const step = ({ unit, places }: typeof slide.rest) => Math.floor(far * (places - 1)) * unit;
        const slides = { program: step(slide.program), rest: step(slide.rest) };
        const { program, arena, loader, vdso } = bases;
        const there = {
          program: program + slides.program,
          arena: arena + slides.rest,
          loader: loader + slides.rest,
          vdso,
        };
        expect(there.program).toBeLessThan(PROGRAM_RANGE.to);
        expect(there.loader + linked.extents.loader.size).toBeLessThanOrEqual(ARENA_RANGE.to);
        const placed = placeLinked(linked, there, { ...around, variant });
        // Joined, maps that are written to at a start have one more reason to be there.
        expect(pagesSlid(image, slides).equals(placed.pages)).toBe(true);
        const isOwn = (at: number): boolean => at < arena;
        const moved = (at: number): number => at + (isOwn(at) ? slides.program : slides.rest);
        if (variant === 'files')
          expect(image.maps.map((map) => ({ ...map, at: moved(map.at) }))).toEqual(placed.maps);
        const fixUps = image.fixUps.filter((one) => !isSlid(one));
        expect(fixUps.map((one) => ({ ...one, at: moved(one.at) }))).toEqual(placed.fixUps);
        expect(image.start + slides.rest).toBe(placed.start);
        expect(image.entry + slides.program).toBe(placed.entry);
      }),
      { numRuns: 100 },
    );
  });

  it('is placed as low as can be, with random distances', () => {
    fc.assert(
      fc.property(state, random, (linked, dice) => {
        const { program, arena } = chooseBases(linked, dice, { slides: true });
        expect(program).toBe(PROGRAM_RANGE.from);
        expect(arena).toBe(ARENA_RANGE.from);
      }),
      { numRuns: 20 },
    );
    const some: LinkedState[] = fc.sample(state, 1);
    const loaders = [1, 2, 3, 4, 5].map(() =>
      some.map((linked) => chooseBases(linked, undefined, { slides: true }).loader),
    );
    expect(new Set(loaders.flat()).size).toBeGreaterThan(1);
  });

  it('leaves what points into a program of fixed addresses', () => {
    fc.assert(
      fc.property(state, random, (linked, dice) => {
        const extents = { ...linked.extents, program: { ...linked.extents.program, fixedAt: 0x40_0000 } };
        const fixed = { ...linked, extents };
        const bases = chooseBases(fixed, dice, { slides: true });
        const { slide, fixUps } = placeLinked(fixed, bases, { ...around, slides: true });
        expect(slide?.program.places).toBe(1);
        expect(slide?.pages.some(({ into }) => into === 'program')).toBe(false);
        expect(fixUps.some(({ kind }) => kind === 'slid-program')).toBe(false);
      }),
      { numRuns: 50 },
    );
  });
});
