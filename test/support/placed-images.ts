/** Placed images for tests of their format: a small one, and any. */
import * as fc from 'fast-check';
import { PAGE_SIZE, rva, userAddress } from '../../src/base/brands.ts';
import type {
  MapSource,
  PlacedImage,
  PlacedMap,
  PlacedSlide,
  PlacedWatch,
  SlidPage,
} from '../../src/share/linked/linked-model.ts';

const READ = { read: true, write: false, execute: false } as const;
export const WRITE = { read: true, write: true, execute: false } as const;
export const CODE = { read: true, write: false, execute: true } as const;

const BASE = 0x2000_0000_0000;
export const page = (index: number) => userAddress(BASE + index * PAGE_SIZE);

export const small: PlacedImage = {
  start: userAddress(BASE + 0x10),
  entry: userAddress(BASE + 0x20),
  phdr: userAddress(BASE + 0x40),
  base: page(0),
  program: { at: page(0), phdr: rva(64), first: rva(0), size: 4 * PAGE_SIZE, sum: 5n },
  threadPointer: userAddress(BASE + 0x2100),
  tidAt: userAddress(BASE + 0x2200),
  robust: { at: userAddress(BASE + 0x2300), size: 24 },
  rseq: { at: userAddress(BASE + 0x2400), size: 32, signature: 0x53053053 },
  vdsoAt: page(200),
  isJoined: false,
  libraryPath: undefined,
  slide: undefined,
  machine: {
    hwcap: 0xbfebfbffn,
    hwcap2: 2n,
    minsigstksz: 3632n,
    stackLimit: 8_388_608n,
    clockTick: 100,
    pageSize: 4096,
    vdso: { lead: 4 * PAGE_SIZE, size: 2 * PAGE_SIZE, checksum: 77n },
  },
  processor: {
    leaf1: { eax: 1, ebx: 2, ecx: 0xffff_ffff, edx: 3 },
    leaf7: { ebx: 4, ecx: 5, edx: 6 },
    xcr0: 7n,
  },
  files: [
    {
      path: '/usr/lib/libc.so.6',
      size: 3 * PAGE_SIZE,
      mtimeNs: 1_700_000_000_123_456_789n,
      inode: 9n,
      device: 0xfe00,
      isMapped: true,
    },
    {
      path: '/etc/ld.so.cache',
      size: 10,
      mtimeNs: -5n,
      inode: 2n ** 64n - 1n,
      device: 2 ** 32 - 1,
      isMapped: false,
    },
  ],
  maps: [
    { at: page(0), size: PAGE_SIZE, source: { kind: 'file', index: 0, offset: PAGE_SIZE }, protection: CODE },
    { at: page(1), size: PAGE_SIZE, source: { kind: 'pages', offset: 0 }, protection: READ },
    { at: page(2), size: PAGE_SIZE, source: { kind: 'zeros' }, protection: WRITE },
    { at: page(4), size: PAGE_SIZE, source: { kind: 'program', rva: rva(PAGE_SIZE) }, protection: READ },
  ],
  fixUps: [
    { at: userAddress(BASE + 0x1008), size: 4, kind: 'argc' },
    { at: userAddress(BASE + 0x2128), size: 8, kind: 'stack-guard' },
  ],
  watches: [
    { kind: 'absent', path: '/etc/ld.so.preload' },
    { kind: 'unchanged', path: '/usr/lib', size: 0, mtimeNs: 12n, inode: 4n },
  ],
  pages: Buffer.alloc(PAGE_SIZE, 0xa5),
};

/** Words by their numbers in the page. */
export const slidPage = (index: number, into: SlidPage['into'], ...numbers: readonly number[]): SlidPage => {
  const words = Buffer.alloc(64);
  for (const word of numbers) words[word >> 3] = (words[word >> 3] ?? 0) | (1 << (word & 7));
  return { at: page(index), into, words };
};

export const slide: PlacedSlide = {
  program: { unit: PAGE_SIZE, places: 10 },
  rest: { unit: 4 * PAGE_SIZE, places: 2 ** 20 },
  pagesIn: false,
  pages: [slidPage(1, 'program', 7, 511), slidPage(1, 'rest', 0, 8)],
};

/** `small` with a slide: its program below all else. */
export const slid: PlacedImage = {
  ...small,
  program: { ...small.program, at: userAddress(BASE - 100 * PAGE_SIZE) },
  slide,
};

const path = fc
  .string({ unit: 'grapheme', maxLength: 40 })
  .map((text) => `/${Buffer.from(text.replaceAll('\0', '_')).toString()}`);
const stat = {
  path,
  size: fc.integer({ min: 0, max: 2 ** 40 }),
  mtimeNs: fc.bigInt(-(2n ** 62n), 2n ** 62n),
  inode: fc.bigInt(0n, 2n ** 64n - 1n),
};
const word32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const word64 = fc.bigInt(0n, 2n ** 64n - 1n);

const watch: fc.Arbitrary<PlacedWatch> = fc.oneof(
  fc.record({ kind: fc.constant('absent' as const), path }),
  fc.record({ kind: fc.constant('unchanged' as const), ...stat }),
);

/** Further maps, behind those of `small`: each with its distance from the one before, in pages. */
const furtherMaps = fc
  .array(
    fc.record({
      gap: fc.integer({ min: 0, max: 5 }),
      pages: fc.integer({ min: 1, max: 3 }),
      source: fc.oneof(
        fc.constant<MapSource>({ kind: 'zeros' }),
        fc.constant<MapSource>({ kind: 'file', index: 0, offset: 0 }),
        fc.integer({ min: 0, max: 9 }).map((at): MapSource => ({ kind: 'pages', offset: at * PAGE_SIZE })),
        fc
          .integer({ min: 0, max: 1 })
          .map((at): MapSource => ({ kind: 'program', rva: rva(at * PAGE_SIZE) })),
      ),
      protection: fc.record({ read: fc.boolean(), write: fc.boolean(), execute: fc.boolean() }),
    }),
    { maxLength: 20 },
  )
  .map((maps): PlacedMap[] => {
    let next = 30;
    return maps.map(({ gap, pages, source, protection }) => {
      const at = page(next + gap);
      next += gap + pages;
      return { at, size: pages * PAGE_SIZE, source, protection };
    });
  });

/** An area behind all others, and maps over it. */
const area = fc
  .array(
    fc.record({ gap: fc.integer({ min: 0, max: 2 }), isZeros: fc.boolean(), isWritable: fc.boolean() }),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .map((over): PlacedMap[] => {
    const source: MapSource = { kind: 'pages', offset: 0 };
    let next = 180;
    const maps = over.map(({ gap, isZeros, isWritable }): PlacedMap => {
      const at = next + gap;
      next = at + 1;
      return {
        at: page(at),
        size: PAGE_SIZE,
        source: isZeros ? { kind: 'zeros' } : { kind: 'pages', offset: (at - 180) * PAGE_SIZE },
        protection: isWritable ? WRITE : READ,
      };
    });
    return [{ at: page(180), size: 12 * PAGE_SIZE, source, protection: CODE }, ...maps];
  });

/** In the second half of page 1, where no fix-up is. */
function slideOf(some: {
  readonly slidWords: Uint8Array;
  readonly slidInto: SlidPage['into'];
  readonly units: readonly [number, number];
}): PlacedSlide {
  const words = Buffer.alloc(64);
  words.set(some.slidWords, 32);
  return {
    program: { unit: some.units[0] * PAGE_SIZE, places: 1 + ((some.slidWords[0] ?? 0) % 10) },
    rest: { unit: some.units[1] * PAGE_SIZE, places: 1 + (some.slidWords[1] ?? 0) * 1000 },
    pagesIn: (some.slidWords[0] ?? 0) % 2 === 1,
    pages: words.every((byte) => byte === 0) ? [] : [{ at: page(1), into: some.slidInto, words }],
  };
}

export const image: fc.Arbitrary<PlacedImage> = fc
  .record({
    maps: furtherMaps,
    area: fc.option(area, { nil: undefined }),
    files: fc.array(fc.record({ ...stat, device: word32, isMapped: fc.boolean() }), { maxLength: 6 }),
    watches: fc.array(watch, { maxLength: 6 }),
    kinds: fc.array(fc.constantFrom('argc', 'tid', 'auxv', 'break', 'cpu-number', 'platform'), {
      maxLength: 9,
    }),
    isSlid: fc.boolean(),
    slidWords: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    slidInto: fc.constantFrom('program' as const, 'rest' as const),
    units: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })),
    hasVdso: fc.boolean(),
    hasRobust: fc.boolean(),
    hasRseq: fc.boolean(),
    libraryPath: fc.option(path, { nil: undefined }),
    hwcap: word64,
    eax: word32,
    xcr0: word64,
    fill: fc.uint8Array({ minLength: 1, maxLength: 64 }),
  })
  .map((some) => ({
    ...small,
    vdsoAt: some.hasVdso ? small.vdsoAt : undefined,
    robust: some.hasRobust ? small.robust : undefined,
    rseq: some.hasRseq ? small.rseq : undefined,
    machine: {
      ...small.machine,
      hwcap: some.hwcap,
      vdso: some.hasVdso ? small.machine.vdso : undefined,
    },
    processor: { ...small.processor, leaf1: { ...small.processor.leaf1, eax: some.eax }, xcr0: some.xcr0 },
    files: [...small.files, ...some.files],
    isJoined: some.area !== undefined,
    libraryPath: some.libraryPath,
    maps: [...small.maps, ...some.maps, ...(some.area ?? [])],
    program: some.isSlid ? slid.program : small.program,
    slide: some.isSlid ? slideOf(some) : undefined,
    watches: some.watches,
    fixUps: some.kinds.map((kind, index) => ({
      at: userAddress(page(1) + index * 8),
      size: 8 as const,
      kind,
    })),
    pages: Buffer.alloc(12 * PAGE_SIZE, some.fill),
  }));
