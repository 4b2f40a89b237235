/** Linked programs that there are not, for tests: any mappings, pages written here and there, pointers among them. */
import fc from 'fast-check';
import { PAGE_SIZE } from '../../src/base/brands.ts';
import {
  ANCHORS,
  type Anchor,
  type AnchorExtent,
  type DirtyPage,
  type LinkedMapping,
  type LinkedState,
  type Pointers,
} from '../../src/share/model.ts';
import type { Surroundings } from '../../src/share/place/place.ts';

const FILE_PAGES = 40;
export const FILES = [1, 2, 3].map((seed) =>
  Buffer.from(Array.from({ length: FILE_PAGES * PAGE_SIZE }, (_, i) => (i * seed + (i >> 12)) % 251)),
);
const IDENTITY = { size: FILE_PAGES * PAGE_SIZE, mtimeNs: 0n, inode: 0n };
export const RWX = { read: true, write: true, execute: false };
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

export function stateOf(
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
    libraryPath: undefined,
    lookups: [],
  };
}

export const state = fc
  .record({
    program: fc.array(piece, { minLength: 1, maxLength: 5 }),
    arena: fc.array(piece, { minLength: 1, maxLength: 8 }),
    loader: fc.array(piece, { minLength: 1, maxLength: 4 }),
    seeds: fc.array(fc.nat(1_000_000), { minLength: 1, maxLength: 20 }),
  })
  .map(({ seeds, ...pieces }) => stateOf(pieces, seeds));

export const around: Surroundings = {
  programCuts: [],
  programSum: 0n,
  variant: 'files',
  slides: false,
  taken: new Set(),
  mostCopied: Number.POSITIVE_INFINITY,
  processor: { leaf1: { eax: 0, ebx: 0, ecx: 0, edx: 0 }, leaf7: { ebx: 0, ecx: 0, edx: 0 }, xcr0: 0n },
  files: [undefined, ...['/loader', '/library'].map((path) => ({ path, ...IDENTITY, device: 0 }))],
  watches: [],
  read: ({ file, offset }, size) => FILES[file]?.subarray(offset, offset + size),
};

export const seeded = (seed: number) => (end: number) =>
  Math.floor(((seed * 2654435761) % 2 ** 32) / (2 ** 32 / end));
export const random = fc.nat(1_000_000).map(seeded);
