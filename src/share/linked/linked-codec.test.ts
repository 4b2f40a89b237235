import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CODE, image, page, slid, slide, small, WRITE } from '../../../test/support/placed-images.ts';
import { PAGE_SIZE, rva, userAddress } from '../../base/brands.ts';
import { planChecksum } from '../../base/checksum.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import { WinnowError } from '../../base/errors.ts';
import { decodeLinked } from './linked-decode.ts';
import { encodeLinked } from './linked-encode.ts';
import {
  FIX_UP_KINDS,
  LINKED_FIXUPS_MAX,
  LINKED_HEADER,
  LINKED_HEADER_SIZE_1,
  LINKED_MAPS_MAX,
  LINKED_VERSION,
} from './linked-layout.ts';
import type { MapSource, PlacedFixUpKind, PlacedImage, PlacedMap } from './linked-model.ts';

const CASES = process.env.CI ? 100_000 : 2_000;

const failure = (bytes: Uint8Array): string => {
  try {
    decodeLinked(bytes, 'git.linked');
  } catch (error) {
    if (error instanceof WinnowError) return error.code;
    throw error;
  }
  return 'none';
};

function withChecksums(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.from(bytes);
  const head = copy.readUInt32LE(ENVELOPE.head_size);
  if (head % 8 !== 0 || head < LINKED_HEADER.size || head > copy.length) return copy;
  const pages = copy.subarray(Math.ceil(head / PAGE_SIZE) * PAGE_SIZE);
  if (pages.length % 8 === 0) copy.writeBigUInt64LE(planChecksum(pages), LINKED_HEADER.pages_checksum);
  copy.writeBigUInt64LE(planChecksum(copy.subarray(ENVELOPE.size, head)), ENVELOPE.head_checksum);
  return copy;
}

describe('NAME.linked', () => {
  it('is read back as it was written', () => {
    fc.assert(
      fc.property(image, (one) => {
        const { pages: written, ...rest } = one;
        const { pages: read, ...back } = decodeLinked(encodeLinked(one), 'git.linked');
        expect(back).toEqual(rest);
        // Byte by byte, toEqual would take most of the time.
        expect(read.equals(written)).toBe(true);
      }),
      { numRuns: Math.min(CASES, 1000) },
    );
  });

  it('is read in version 1, which knew no LD_LIBRARY_PATH', () => {
    const bytes = encodeLinked(small);
    const more = LINKED_HEADER.size - LINKED_HEADER_SIZE_1;
    const head = bytes.readUInt32LE(ENVELOPE.head_size);
    const old = Buffer.concat([
      bytes.subarray(0, LINKED_HEADER_SIZE_1),
      bytes.subarray(LINKED_HEADER.size, head),
      Buffer.alloc(more),
      bytes.subarray(head),
    ]);
    old.writeUInt32LE(1, ENVELOPE.version);
    old.writeUInt32LE(head - more, ENVELOPE.head_size);
    expect(decodeLinked(withChecksums(old), 'x')).toEqual(decodeLinked(bytes, 'x'));
    old.writeUInt32LE(LINKED_VERSION, ENVELOPE.version);
    expect(failure(withChecksums(old))).toBe('E_LINKED_DAMAGED');
  });

  it('holds LD_LIBRARY_PATH, which may be set to nothing', () => {
    for (const libraryPath of [undefined, '', '/a:/ü'])
      expect(decodeLinked(encodeLinked({ ...small, libraryPath }), 'x').libraryPath).toBe(libraryPath);
    const bytes = encodeLinked({ ...small, libraryPath: '/a' });
    bytes.writeUInt32LE(bytes.readUInt32LE(LINKED_HEADER.strings_size), LINKED_HEADER.library_path);
    expect(failure(withChecksums(bytes))).toBe('E_LINKED_DAMAGED');
    bytes.writeUInt32LE(0, LINKED_HEADER.library_path);
    bytes.writeUInt32LE(1, LINKED_HEADER.reserved);
    expect(failure(withChecksums(bytes))).toBe('E_LINKED_DAMAGED');
  });

  it('holds every kind of fix-up', () => {
    const kinds = Object.keys(FIX_UP_KINDS).filter((kind): kind is PlacedFixUpKind => kind in FIX_UP_KINDS);
    const fixUps = kinds.map((kind, index) => ({
      at: userAddress(page(1) + index * 8),
      size: 8 as const,
      kind,
    }));
    const all = { ...slid, slide: { ...slide, pages: [] }, fixUps };
    expect(decodeLinked(encodeLinked(all), 'x').fixUps).toEqual(fixUps);
    expect(new Set(Object.values(FIX_UP_KINDS)).size).toBe(kinds.length);
  });

  const [code, pages, zeros] = small.maps;
  const [argc, guard] = small.fixUps;
  if (code === undefined || pages === undefined || zeros === undefined) throw new Error('maps');
  if (argc === undefined || guard === undefined) throw new Error('fix-ups');
  const file = small.files[0];
  if (file === undefined) throw new Error('files');

  const twoPages = Buffer.alloc(2 * PAGE_SIZE);
  const ofFile: MapSource = { kind: 'file', index: 0, offset: 0 };
  const show = (at: number, count: number): PlacedMap => ({
    at: page(at),
    size: count * PAGE_SIZE,
    source: { kind: 'pages', offset: (at - 180) * PAGE_SIZE },
    protection: CODE,
  });
  const over = [{ ...show(181, 1), protection: WRITE }];
  const joined = [show(180, 2), ...over];
  const withOver = (change: Partial<PlacedMap>): Partial<PlacedImage> => ({
    isJoined: true,
    maps: [...small.maps, show(180, 2), ...over.map((map) => ({ ...map, ...change }))],
    pages: twoPages,
  });

  it.each<[string, Partial<PlacedImage>, RegExp]>([
    ['maps out of order', { maps: [...small.maps].reverse() }, /order/],
    ['a map of part of a page', { maps: [{ ...code, size: 100 }] }, /pages/],
    ['a map of nothing', { maps: [{ ...code, size: 0 }] }, /pages/],
    ['a map at address 0', { maps: [{ ...code, at: userAddress(0) }] }, /order/],
    ['a map in the kernel', { maps: [{ ...code, at: userAddress(2 ** 47) }] }, /user half/],
    [
      'a map behind the pages',
      { maps: [{ ...pages, source: { kind: 'pages', offset: PAGE_SIZE } }] },
      /not there/,
    ],
    [
      'a map behind the end of a file',
      { maps: [{ ...code, source: { kind: 'file', index: 0, offset: 3 * PAGE_SIZE } }] },
      /behind/,
    ],
    [
      'a map of a file that is only watched',
      { maps: [{ ...code, source: { kind: 'file', index: 1, offset: 0 } }] },
      /not to be mapped/,
    ],
    [
      'a map of no file',
      { maps: [{ ...code, source: { kind: 'file', index: 7, offset: 0 } }] },
      /not to be mapped/,
    ],
    [
      'a map outside of the program',
      { maps: [{ ...code, source: { kind: 'program', rva: rva(4 * PAGE_SIZE) } }] },
      /program/,
    ],
    ['a map above the vDSO', { vdsoAt: page(3) }, /vDSO/],
    [
      'a pointer into a vDSO that there is not',
      {
        vdsoAt: undefined,
        machine: { ...small.machine, vdso: undefined },
        fixUps: [{ ...guard, kind: 'in-vdso' }],
      },
      /vDSO/,
    ],
    ['a short pointer into the vDSO', { fixUps: [{ ...argc, kind: 'in-vdso' }] }, /vDSO/],
    ['a vDSO without an address', { vdsoAt: undefined }, /in part/],
    ['fix-ups out of order', { fixUps: [guard, argc] }, /order/],
    ['a fix-up nowhere', { fixUps: [{ ...argc, at: page(9) }] }, /outside/],
    ['a fix-up in two maps', { fixUps: [{ ...guard, at: userAddress(page(3) - 4) }] }, /outside/],
    ['a start that cannot be executed', { start: page(1) }, /start/],
    ['an entry that cannot be executed', { entry: page(2) }, /entry/],
    ['a thread id that cannot be written', { tidAt: page(1) }, /thread/],
    [
      'an rseq area that is not aligned',
      { rseq: { at: userAddress(page(2) + 8), size: 32, signature: 1 } },
      /sequences/,
    ],
    ['robust futexes nowhere', { robust: { at: userAddress(page(3) - 8), size: 24 } }, /robust/],
    ['a relative path', { files: [{ ...file, path: 'lib/libc.so' }] }, /absolute/],
    ['a path that is too long', { watches: [{ kind: 'absent', path: `/${'x'.repeat(4096)}` }] }, /absolute/],
    ['too many fix-ups', { fixUps: Array.from({ length: LINKED_FIXUPS_MAX + 1 }, () => argc) }, /too many/],
    ['too many maps', { maps: Array.from({ length: LINKED_MAPS_MAX + 1 }, () => zeros) }, /too many/],
    ['pages cut off', { pages: Buffer.alloc(100) }, /whole/],
    ['a map over another one', { maps: [...small.maps, ...joined] }, /overlap/],
    [
      'a map over a map over an area',
      { isJoined: true, maps: [...small.maps, ...joined, ...over] },
      /overlap/,
    ],
    ['a map that goes on behind an area', withOver({ size: 2 * PAGE_SIZE }), /overlap/],
    [
      'a map that shows another part of an area',
      withOver({ source: { kind: 'pages', offset: 0 } }),
      /something else/,
    ],
    ['a map of a file over an area', withOver({ source: ofFile }), /something else/],
    [
      'a fix-up in an area itself',
      {
        isJoined: true,
        maps: [...small.maps, ...joined],
        fixUps: [{ ...argc, at: page(180) }],
        pages: twoPages,
      },
      /outside/,
    ],
  ])('is not written with %s', (_what, change, why) => {
    expect(() => encodeLinked({ ...small, ...change })).toThrow(why);
  });

  it('says what is wrong: truncated, damaged, newer', () => {
    const bytes = encodeLinked(small);
    const edited = (edit: (copy: Buffer) => void): Buffer => {
      const copy = Buffer.from(bytes);
      edit(copy);
      return copy;
    };
    expect(failure(bytes)).toBe('none');
    expect(failure(bytes.subarray(0, 0))).toBe('E_LINKED_TRUNCATED');
    expect(failure(bytes.subarray(0, bytes.length - 8))).toBe('E_LINKED_TRUNCATED');
    expect(failure(Buffer.concat([bytes, Buffer.alloc(8)]))).toBe('E_LINKED_DAMAGED');
    expect(failure(edited((copy) => copy.writeUInt8(0, 0)))).toBe('E_LINKED_DAMAGED');
    expect(failure(edited((copy) => copy.writeUInt32LE(LINKED_VERSION + 1, ENVELOPE.version)))).toBe(
      'E_LINKED_NEWER',
    );
    expect(failure(edited((copy) => copy.writeUInt32LE(0, ENVELOPE.version)))).toBe('E_LINKED_DAMAGED');
  });

  it('finds every flipped bit', () => {
    const bytes = encodeLinked(slid);
    for (let bit = 0; bit < bytes.length * 8; bit += bit < 8192 ? 1 : 61) {
      const copy = Buffer.from(bytes);
      copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(failure(copy), `bit ${bit}`).toMatch(/^E_LINKED_/);
    }
  });

  it(`fails with an error of its own on any damage, checksums right or wrong (${CASES} cases)`, () => {
    const bytes = encodeLinked(slid);
    const head = bytes.readUInt32LE(ENVELOPE.head_size);
    const edits = fc.array(
      fc.tuple(fc.nat(head + 64), fc.oneof(fc.nat(255), fc.constantFrom(0, 0xff, 0x7f))),
      { minLength: 1, maxLength: 6 },
    );
    const codes = new Set(['none', 'E_LINKED_TRUNCATED', 'E_LINKED_DAMAGED', 'E_LINKED_NEWER']);
    fc.assert(
      fc.property(edits, fc.boolean(), fc.option(fc.nat(bytes.length)), (changes, isRight, cut) => {
        const copy = Buffer.from(cut === null ? bytes : bytes.subarray(0, cut));
        for (const [at, value] of changes) if (copy.length > 0) copy.writeUInt8(value, at % copy.length);
        const isLong = copy.length >= LINKED_HEADER.size;
        expect(codes).toContain(failure(isRight && isLong ? withChecksums(copy) : copy));
      }),
      { numRuns: CASES },
    );
  });
});
