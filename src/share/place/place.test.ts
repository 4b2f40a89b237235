/** Placing: whatever the linked program is made of, memory as the maps show it is the linked one with the bases added. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { around, FILES, RWX, random, seeded, state, stateOf } from '../../../test/support/linked-states.ts';
import { PAGE_SIZE } from '../../base/brands.ts';
import type { PlacedImage } from '../linked/linked-model.ts';
import { layersOf, mapAt } from '../linked/linked-rules.ts';
import { ANCHORS, type LinkedMapping, type LinkedState } from '../model.ts';
import { type Bases, chooseBases } from './addresses.ts';
import { placeLinked } from './place.ts';

/** Index of the library in `LinkedState.files`. */
const LIBRARY = 2;

/** The bytes of one page as the maps of the image show it. */
function shown(image: PlacedImage, at: number, owner: LinkedMapping): Buffer | undefined {
  const map = mapAt(image.maps, at);
  if (map === undefined) return undefined;
  const inside = at - map.at;
  if (map.source.kind === 'zeros') return Buffer.alloc(PAGE_SIZE);
  if (map.source.kind === 'pages')
    return image.pages.subarray(map.source.offset + inside, map.source.offset + inside + PAGE_SIZE);
  if (map.source.kind === 'program') {
    // What the kernel mapped there is what the loader saw there.
    const offset = (owner.source?.offset ?? 0) + map.source.rva + inside - owner.place.offset;
    return FILES[0]?.subarray(offset, offset + PAGE_SIZE);
  }
  const offset = map.source.offset + inside;
  return FILES[map.source.index + 1]?.subarray(offset, offset + PAGE_SIZE);
}

/** What must be seen there: the page as it was linked, bases added. */
function expected(linked: LinkedState, bases: Bases, mapping: LinkedMapping, inside: number): Buffer {
  const { place, source, dirty } = mapping;
  const own = dirty.find(({ offset }) => offset === inside);
  if (own === undefined) {
    if (source === undefined) return Buffer.alloc(PAGE_SIZE);
    const file = FILES[source.file] ?? Buffer.alloc(0);
    return file.subarray(source.offset + inside, source.offset + inside + PAGE_SIZE);
  }
  // With a neighbour page on each side, for words that begin or end there.
  const from = place.offset + inside - PAGE_SIZE;
  const memory = Buffer.alloc(3 * PAGE_SIZE);
  for (const one of linked.mappings) {
    if (one.place.anchor !== place.anchor) continue;
    for (const page of one.dirty) {
      const where = one.place.offset + page.offset - from;
      if (where >= 0 && where < memory.length) page.bytes.copy(memory, where);
    }
  }
  for (const { standsIn, at, into } of linked.pointers) {
    if (standsIn !== place.anchor) continue;
    at.forEach((word, i) => {
      const where = word - from;
      if (where < 0 || where + 8 > memory.length) return;
      const base = BigInt(bases[ANCHORS[into[i] ?? 0] ?? 'arena']);
      memory.writeBigUInt64LE(BigInt.asUintN(64, memory.readBigUInt64LE(where) + base), where);
    });
  }
  return memory.subarray(PAGE_SIZE, 2 * PAGE_SIZE);
}

/** Pages of files that maps show one after another. */
function stretchesOfFiles(maps: PlacedImage['maps']): number[] {
  const sizes: number[] = [];
  let last: PlacedImage['maps'][number] | undefined;
  for (const map of maps) {
    const goesOn =
      last?.source.kind === 'file' &&
      map.source.kind === 'file' &&
      last.at + last.size === map.at &&
      last.source.offset + last.size === map.source.offset;
    const pages = map.size / PAGE_SIZE;
    if (goesOn) sizes.push((sizes.pop() ?? 0) + pages);
    else if (map.source.kind === 'file') sizes.push(pages);
    last = map;
  }
  return sizes;
}

describe('placing a linked program', () => {
  it('shows each page as it was linked, with the bases added, in ascending maps without overlap', () => {
    fc.assert(
      fc.property(state, random, fc.boolean(), (linked, dice, takes) => {
        const bases = chooseBases(linked, dice);
        const image = placeLinked(linked, bases, { ...around, taken: new Set(takes ? [LIBRARY] : []) });
        for (const mapping of linked.mappings) {
          const { read, write, execute } = mapping.protection;
          if (!read && !write && !execute) continue;
          for (let inside = 0; inside < mapping.size; inside += PAGE_SIZE) {
            const at = bases[mapping.place.anchor] + mapping.place.offset + inside;
            const page = shown(image, at, mapping);
            expect(page?.equals(expected(linked, bases, mapping, inside))).toBe(true);
            const map = image.maps.find((one) => one.at <= at && at < one.at + one.size);
            expect(map?.protection).toEqual(mapping.protection);
          }
        }
        const size = (all: readonly { readonly size: number }[]) =>
          all.reduce((sum, one) => sum + one.size, 0);
        expect(size(image.maps)).toBe(size(linked.mappings));
        expect(
          image.maps.every(
            ({ at }, i) => at >= (image.maps[i - 1]?.at ?? 0) + (image.maps[i - 1]?.size ?? 0),
          ),
        ).toBe(true);
        expect(image.files.length).toBe(2);
        // The program is no file of the image.
        if (takes) expect(image.files[LIBRARY - 1]?.isMapped).toBe(false);
      }),
    );
  });

  it('shows the same where libraries and loader are joined, by areas and maps over them, and long stretches of files', () => {
    const most = fc.oneof(fc.nat(14), fc.constant(Number.POSITIVE_INFINITY));
    fc.assert(
      fc.property(state, random, most, (linked, dice, mostCopied) => {
        const bases = chooseBases(linked, dice);
        const image = placeLinked(linked, bases, { ...around, variant: 'joined', mostCopied });
        const under = layersOf(image);
        expect(under).toBeDefined();
        for (const mapping of linked.mappings) {
          const { read, write, execute } = mapping.protection;
          if (!read && !write && !execute) continue;
          for (let inside = 0; inside < mapping.size; inside += PAGE_SIZE) {
            const at = bases[mapping.place.anchor] + mapping.place.offset + inside;
            const page = shown(image, at, mapping);
            expect(page?.equals(expected(linked, bases, mapping, inside))).toBe(true);
            const map = mapAt(image.maps, at);
            expect(map?.protection.write).toBe(write);
            expect(map?.protection.execute === true || !execute).toBe(true);
          }
        }
        const own = image.maps.filter(({ at }) => at >= bases.arena);
        for (const pages of stretchesOfFiles(own)) expect(pages).toBeGreaterThan(mostCopied);
        const ofFiles = own.filter(({ source }) => source.kind === 'file').length;
        const areas = image.maps.filter((map) => [...(under?.values() ?? [])].includes(map));
        expect(areas.length).toBeLessThanOrEqual(2 + ofFiles);
        for (const [index, { isMapped }] of image.files.entries())
          expect(own.some(({ source }) => source.kind === 'file' && source.index === index)).toBe(isMapped);
      }),
    );
  });

  it('makes nothing executable in areas without code', () => {
    fc.assert(
      fc.property(state, random, fc.nat(14), (linked, dice, mostCopied) => {
        const without = linked.mappings.map((one) => ({
          ...one,
          protection: { ...one.protection, execute: false },
        }));
        const bases = chooseBases(linked, dice);
        const joins = { ...around, variant: 'joined', mostCopied } as const;
        const { maps } = placeLinked({ ...linked, mappings: without }, bases, joins);
        expect(maps.filter(({ protection }) => protection.execute)).toEqual([]);
      }),
    );
  });

  it('differs between two places in pointers alone', () => {
    fc.assert(
      fc.property(state, random, random, (linked, one, other) => {
        const [first, second] = [one, other].map((dice) => chooseBases(linked, dice));
        if (first === undefined || second === undefined) return;
        const a = placeLinked(linked, first, around);
        const b = placeLinked(linked, second, around);
        expect(b.pages.length).toBe(a.pages.length);
        let differing = 0;
        for (let at = 0; at < a.pages.length; at += 1) if (a.pages[at] !== b.pages[at]) differing += 1;
        const pointers = linked.pointers.reduce((sum, table) => sum + table.at.length, 0);
        expect(differing).toBeLessThanOrEqual(pointers * 8);
        expect(a.maps.map(({ size, source }) => ({ size, source }))).toEqual(
          b.maps.map(({ size, source }) => ({ size, source })),
        );
      }),
    );
  });

  it('joins pages that were written with the few clean ones between and beside them', () => {
    const protection = RWX;
    const dirty = [0, 3].map((page) => ({ offset: page * PAGE_SIZE, bytes: Buffer.alloc(PAGE_SIZE, 7) }));
    const data = {
      place: { anchor: 'arena', offset: 0 },
      size: 5 * PAGE_SIZE,
      protection,
      source: { file: 2, offset: 0 },
      dirty,
    } as const;
    const bss = {
      place: { anchor: 'arena', offset: 5 * PAGE_SIZE },
      size: 2 * PAGE_SIZE,
      protection,
      source: undefined,
      dirty: [],
    } as const;
    const large = { ...bss, size: 100 * PAGE_SIZE };
    const linked = { ...stateOf({ program: [], arena: [], loader: [] }, []), pointers: [] };
    const place = (mappings: readonly LinkedMapping[]) =>
      placeLinked({ ...linked, mappings }, chooseBases(linked, seeded(5)), around).maps.map(
        ({ size, source }) => [size / PAGE_SIZE, source.kind],
      );
    expect(place([data, bss])).toEqual([[7, 'pages']]);
    expect(place([data, large])).toEqual([
      [5, 'pages'],
      [100, 'zeros'],
    ]);
    expect(place([{ ...data, dirty: [] }, bss])).toEqual([
      [5, 'file'],
      [2, 'zeros'],
    ]);
  });

  it('takes pages of the program one by one where the kernel has two mappings and the loader left one', () => {
    const mapping: LinkedMapping = {
      place: { anchor: 'program', offset: 0 },
      size: 5 * PAGE_SIZE,
      protection: { read: true, write: false, execute: false },
      source: { file: 0, offset: 0 },
      dirty: [],
    };
    const linked = { ...stateOf({ program: [], arena: [], loader: [] }, []), mappings: [mapping] };
    const bases = chooseBases(linked, seeded(5));
    const cut = { ...around, programCuts: [0, 2 * PAGE_SIZE, 5 * PAGE_SIZE] };
    const { maps } = placeLinked({ ...linked, pointers: [] }, bases, cut);
    expect(maps.map(({ at, size, source }) => [at - bases.program, size, source])).toEqual([
      [0, 2 * PAGE_SIZE, { kind: 'program', rva: 0 }],
      [2 * PAGE_SIZE, 3 * PAGE_SIZE, { kind: 'program', rva: 2 * PAGE_SIZE }],
    ]);
  });

  it('leaves words zero that every start writes', () => {
    const dirty = [{ offset: 0, bytes: Buffer.alloc(PAGE_SIZE, 0xee) }];
    const mapping: LinkedMapping = {
      place: { anchor: 'loader', offset: 0 },
      size: PAGE_SIZE,
      protection: RWX,
      source: undefined,
      dirty,
    };
    const linked = stateOf({ program: [], arena: [], loader: [] }, []);
    const fixUp = { at: { anchor: 'loader', offset: 16 }, size: 4, kind: 'argc', name: '_dl_argc' } as const;
    const bases = chooseBases(linked, seeded(1));
    const image = placeLinked({ ...linked, mappings: [mapping], fixUps: [fixUp] }, bases, around);
    expect(image.fixUps).toEqual([{ at: bases.loader + 16, size: 4, kind: 'argc' }]);
    expect([...image.pages.subarray(14, 22)]).toEqual([0xee, 0xee, 0, 0, 0, 0, 0xee, 0xee]);
    const lost = { ...fixUp, at: { anchor: 'arena', offset: 16 } } as const;
    expect(() => placeLinked({ ...linked, mappings: [mapping], fixUps: [lost] }, bases, around)).toThrow(
      RangeError,
    );
  });
});
