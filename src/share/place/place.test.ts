/** Placing: whatever the linked program is made of, memory as the maps show it is the linked one with the bases added. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '../../base/brands.ts';
import type { PlacedImage } from '../linked/linked-model.ts';
import { layersOf, mapAt } from '../linked/linked-rules.ts';
import {
  ANCHORS,
  type Anchor,
  type AnchorExtent,
  type DirtyPage,
  type LinkedMapping,
  type LinkedState,
  type Pointers,
} from '../model.ts';
import { ARENA_RANGE, type Bases, chooseBases, PROGRAM_RANGE } from './addresses.ts';
import { placeLinked, type Surroundings } from './place.ts';

const FILE_PAGES = 40;
const FILES = [1, 2, 3].map((seed) =>
  Buffer.from(Array.from({ length: FILE_PAGES * PAGE_SIZE }, (_, i) => (i * seed + (i >> 12)) % 251)),
);
const IDENTITY = { size: FILE_PAGES * PAGE_SIZE, mtimeNs: 0n, inode: 0n };
const RWX = { read: true, write: true, execute: false };
const PROTECTIONS = [
  { read: true, write: false, execute: false },
  RWX,
  { read: true, write: false, execute: true },
  { read: false, write: false, execute: false },
];
const OWNERS: Readonly<Record<string, number>> = { program: 0, loader: 1, arena: 2 };

interface Piece {
  readonly gap: number;
  readonly pages: readonly boolean[];
  readonly protection: number;
  readonly source: number | undefined;
}

const piece: fc.Arbitrary<Piece> = fc.record({
  gap: fc.nat(2),
  pages: fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
  protection: fc.nat(3),
  source: fc.option(fc.nat(FILE_PAGES - 12), { nil: undefined }),
});

function mappingsOf(anchor: Anchor, pieces: readonly Piece[]): LinkedMapping[] {
  let at = 0;
  return pieces.map(({ gap, pages, protection, source }, index) => {
    const offset = at + gap * PAGE_SIZE;
    at = offset + pages.length * PAGE_SIZE;
    const dirty = pages.flatMap((isDirty, page): DirtyPage[] =>
      isDirty && protection !== 3
        ? [{ offset: page * PAGE_SIZE, bytes: Buffer.alloc(PAGE_SIZE, 17 * index + page + 1) }]
        : [],
    );
    return {
      place: { anchor, offset },
      size: pages.length * PAGE_SIZE,
      protection: PROTECTIONS[protection] ?? RWX,
      source: source === undefined ? undefined : { file: OWNERS[anchor] ?? 2, offset: source * PAGE_SIZE },
      dirty,
    };
  });
}

/** Words of 8 bytes, none over another, all on dirty pages. */
function pointersIn(anchor: Anchor, mappings: readonly LinkedMapping[], seeds: readonly number[]): Pointers {
  const dirty = new Set(
    mappings.flatMap((mapping) => mapping.dirty.map((page) => mapping.place.offset + page.offset)),
  );
  const at: number[] = [];
  let free = 0;
  const places = [...dirty].flatMap((page, i) => {
    const seed = seeds[i % Math.max(seeds.length, 1)] ?? 0;
    return [page + (seed % 4000), page + PAGE_SIZE - (seed % 8)];
  });
  for (const place of places.sort((a, b) => a - b)) {
    const pageOf = (byte: number): number => byte - (byte % PAGE_SIZE);
    if (place < free || !dirty.has(pageOf(place)) || !dirty.has(pageOf(place + 7))) continue;
    at.push(place);
    free = place + 8;
  }
  return {
    standsIn: anchor,
    at: Float64Array.from(at),
    into: Uint8Array.from(at, (place) => place % ANCHORS.length),
  };
}

const extentOf = (mappings: readonly LinkedMapping[]): AnchorExtent => {
  const last = mappings.at(-1);
  return {
    first: 0,
    size: (last?.place.offset ?? 0) + (last?.size ?? PAGE_SIZE),
    align: PAGE_SIZE,
    fixedAt: undefined,
  };
};

function stateOf(
  pieces: Readonly<Record<'program' | 'arena' | 'loader', readonly Piece[]>>,
  seeds: readonly number[],
): LinkedState {
  const of = (anchor: 'program' | 'arena' | 'loader') => mappingsOf(anchor, pieces[anchor]);
  const all = { program: of('program'), arena: of('arena'), loader: of('loader') };
  const place = { anchor: 'loader', offset: 0x20 } as const;
  return {
    program: '/p',
    files: (['program', 'loader', 'library'] as const).map((role) => ({
      path: `/${role}`,
      name: `/${role}`,
      identity: IDENTITY,
      role,
    })),
    extents: { program: extentOf(all.program), arena: extentOf(all.arena), loader: extentOf(all.loader) },
    mappings: [...all.program, ...all.arena, ...all.loader],
    pointers: [
      pointersIn('program', all.program, seeds),
      pointersIn('arena', all.arena, seeds),
      pointersIn('loader', all.loader, seeds),
    ],
    fixUps: [],
    leftovers: [],
    start: place,
    entry: { anchor: 'program', offset: 0x1040 },
    phdr: { anchor: 'program', offset: 64 },
    threadPointer: { anchor: 'arena', offset: 0x740 },
    tidAt: place,
    robust: undefined,
    rseq: undefined,
    machine: {
      hwcap: 0n,
      hwcap2: 0n,
      minsigstksz: 0n,
      stackLimit: 8n << 20n,
      clockTick: 100,
      pageSize: PAGE_SIZE,
      vdso: { lead: 4 * PAGE_SIZE, size: 2 * PAGE_SIZE, checksum: 0n },
    },
    lookups: [],
  };
}

const state = fc
  .record({
    program: fc.array(piece, { minLength: 1, maxLength: 5 }),
    arena: fc.array(piece, { minLength: 1, maxLength: 8 }),
    loader: fc.array(piece, { minLength: 1, maxLength: 4 }),
    seeds: fc.array(fc.nat(1_000_000), { minLength: 1, maxLength: 20 }),
  })
  .map(({ seeds, ...pieces }) => stateOf(pieces, seeds));

const around: Surroundings = {
  programCuts: [],
  programSum: 0n,
  variant: 'files',
  processor: { leaf1: { eax: 0, ebx: 0, ecx: 0, edx: 0 }, leaf7: { ebx: 0, ecx: 0, edx: 0 }, xcr0: 0n },
  files: [undefined, ...['/loader', '/library'].map((path) => ({ path, ...IDENTITY, device: 0 }))],
  watches: [],
  read: ({ file, offset }, size) => FILES[file]?.subarray(offset, offset + size),
};

const seeded = (seed: number) => (end: number) =>
  Math.floor(((seed * 2654435761) % 2 ** 32) / (2 ** 32 / end));
const random = fc.nat(1_000_000).map(seeded);

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

describe('placing a linked program', () => {
  it('shows each page as it was linked, with the bases added, in ascending maps without overlap', () => {
    fc.assert(
      fc.property(state, random, (linked, dice) => {
        const bases = chooseBases(linked, dice);
        const image = placeLinked(linked, bases, around);
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
      }),
    );
  });

  it('shows the same where libraries and loader are joined, by an area for each and maps over it', () => {
    fc.assert(
      fc.property(state, random, (linked, dice) => {
        const bases = chooseBases(linked, dice);
        const image = placeLinked(linked, bases, { ...around, variant: 'joined' });
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
            if (mapping.place.anchor !== 'program') expect(map?.source.kind).not.toBe('file');
          }
        }
        const areas = image.maps.filter((map) => [...(under?.values() ?? [])].includes(map));
        expect(areas.length).toBeLessThanOrEqual(2);
        expect(image.files.every(({ isMapped }) => !isMapped)).toBe(true);
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

describe('addresses', () => {
  const size = fc.integer({ min: 1, max: 2 ** 20 }).map((pages) => pages * PAGE_SIZE);
  const extent = fc.record({
    first: fc.constant(0),
    size,
    align: fc.constantFrom(PAGE_SIZE, 2 ** 16, 2 ** 21, 2 ** 22),
    fixedAt: fc.constant(undefined),
  });
  const machine = stateOf({ program: [], arena: [], loader: [] }, []).machine;

  it('are aligned, ascend from the program to the vDSO, and keep away from where the kernel puts things', () => {
    fc.assert(
      fc.property(extent, extent, extent, random, (program, arena, loader, dice) => {
        const bases = chooseBases({ extents: { program, arena, loader }, machine }, dice);
        for (const [base, { align }] of [
          [bases.program, program],
          [bases.arena, arena],
          [bases.loader, loader],
        ] as const)
          expect(base % Math.max(align, 2 ** 21)).toBe(0);
        expect(bases.program).toBeGreaterThanOrEqual(PROGRAM_RANGE.from);
        expect(bases.program + program.size).toBeLessThanOrEqual(PROGRAM_RANGE.to);
        expect(bases.arena).toBeGreaterThanOrEqual(ARENA_RANGE.from);
        expect(bases.loader).toBeGreaterThanOrEqual(bases.arena + arena.size);
        expect(bases.vdso - 4 * PAGE_SIZE).toBeGreaterThan(bases.loader + loader.size);
        expect(bases.vdso % PAGE_SIZE).toBe(0);
        expect(bases.vdso).toBeLessThan(0x5400_0000_0000);
      }),
    );
  });

  it('lie below the mappings of processes with unlimited stacks', () => {
    const unlimited = { ...machine, stackLimit: 2n ** 64n - 1n };
    fc.assert(
      fc.property(extent, extent, extent, random, (program, arena, loader, dice) => {
        const bases = chooseBases({ extents: { program, arena, loader }, machine: unlimited }, dice);
        expect(bases.program).toBeGreaterThan(0x1000_8000_0000);
        expect(bases.arena).toBeGreaterThanOrEqual(bases.program + program.size);
        expect(bases.loader + loader.size).toBeLessThan(0x1440_0000_0000);
      }),
    );
  });

  it('leave a program of fixed addresses where it is, and differ from one time to the next', () => {
    const extents = stateOf({ program: [], arena: [], loader: [] }, []).extents;
    const fixed = { ...extents, program: { first: 0x400000, size: 0x5000, align: PAGE_SIZE, fixedAt: 0 } };
    expect(chooseBases({ extents: fixed, machine }).program).toBe(0);
    const arenas = new Set(Array.from({ length: 20 }, () => chooseBases({ extents, machine }).arena));
    expect(arenas.size).toBeGreaterThan(18);
  });
});
