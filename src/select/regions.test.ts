import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { PAGE_SIZE, userAddress } from '../base/brands.ts';
import type { AddressRange } from '../sys/pagemap.ts';
import { CodeFile, INT3 } from './code-file.ts';
import { MET, MET_BEFORE, NOT_MET, type Region, Regions } from './regions.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-regions-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let fd = 0;
const PAGES = 8;
/** The file's code begins in its page 1, at RVA 0x401000. */
const OFFSET = PAGE_SIZE;
const RVA = 0x401000;
const NOP = 0x90;

function codeFile(
  places: readonly number[],
  bytes = Buffer.alloc((PAGES + 1) * PAGE_SIZE, NOP),
  follows = places.map(() => 0),
): CodeFile {
  const path = join(folder, 'code');
  writeFileSync(path, bytes);
  const segment = {
    type: 1,
    flags: 5,
    offset: OFFSET,
    virtualAddress: RVA,
    fileSize: bytes.length - OFFSET,
    align: PAGE_SIZE,
  };
  fd = openSync(path, 'r');
  return new CodeFile(path, fd, [segment], {
    at: Uint32Array.from(places),
    follows: Uint8Array.from(follows),
  });
}

const range = (start: number, end: number): AddressRange => ({
  start: userAddress(start),
  end: userAddress(end),
});

const regionAt = (code: CodeFile, start: number, pages: number): Region => ({
  ...range(start, start + pages * PAGE_SIZE),
  code,
  bias: start - RVA,
  hit: new Uint8Array(code.count),
});

describe('CodeFile', () => {
  it('writes only pages with breakpoints, neighbours at once, and knows what stood there', () => {
    const bytes = Buffer.alloc((PAGES + 1) * PAGE_SIZE, NOP);
    bytes[OFFSET + 5 * PAGE_SIZE] = INT3;
    const places = [
      0x400fff,
      RVA,
      RVA + 10,
      RVA + PAGE_SIZE,
      RVA + 5 * PAGE_SIZE,
      RVA + 6 * PAGE_SIZE + 4095,
      RVA + PAGES * PAGE_SIZE,
    ];
    const code = codeFile(places, bytes);
    // Before the segment, behind it, and an int3 of the file's own: none of ours.
    expect(code.count).toBe(4);
    expect(code.runs.map(({ start, end }) => [start, (end - start) / PAGE_SIZE])).toEqual([
      [RVA, 2],
      [RVA + 5 * PAGE_SIZE, 2],
    ]);
    // What is written is the file with int3 at these four places, and nothing else changed.
    for (const run of code.runs) {
      const wanted = Buffer.from(bytes.subarray(run.offset, run.offset + run.end - run.start));
      for (const place of places.slice(1, 6))
        if (place >= run.start && place < run.end) wanted[place - run.start] = INT3;
      expect(Buffer.from(code.bytesFor(fd, run, run.start, run.end)).equals(wanted)).toBe(true);
      const page = code.bytesFor(fd, run, run.start + PAGE_SIZE, run.end);
      expect(Buffer.from(page).equals(wanted.subarray(PAGE_SIZE))).toBe(true);
    }
    expect(code.indexOf(RVA + 10)).toBe(1);
    expect(code.indexOf(RVA + 11)).toBe(-1);
    expect(code.indexOf(RVA + 5 * PAGE_SIZE)).toBe(-1);
    expect(code.originalOf(3)).toBe(NOP);
  });

  it('notes each entry once, in the order of first use', () => {
    const code = codeFile([RVA, RVA + 1, RVA + 2]);
    for (const index of [2, 0, 2, 0]) code.noteEntered(index);
    expect(code.entered).toEqual([RVA + 2, RVA]);
  });

  it('knows which breakpoints lead into the same code, whichever of them it drops', () => {
    const bytes = Buffer.alloc((PAGES + 1) * PAGE_SIZE, NOP);
    bytes[OFFSET + 2] = INT3;
    const places = [RVA, RVA + 1, RVA + 2, RVA + 3, RVA + 4, RVA + PAGE_SIZE];
    const code = codeFile(places, bytes, [0, 1, 0, 1, 1, 0]);
    const besides = [0, 1, 2, 3, 4].map((index) => [...code.besides(index)]);
    expect(besides).toEqual([[1], [0], [3], [2], []]);
  });

  it('knows its bias from any page of a segment, and none from elsewhere', () => {
    const code = codeFile([]);
    expect(code.biasOf(0x7000_1000, OFFSET)).toBe(0x7000_1000 - RVA);
    expect(code.biasOf(0x7000_1000, OFFSET + 3 * PAGE_SIZE)).toBe(0x7000_1000 - RVA - 3 * PAGE_SIZE);
    expect(code.biasOf(0x7000_1000, 0)).toBeUndefined();
    expect(code.biasOf(0x7000_1000, OFFSET + PAGES * PAGE_SIZE)).toBeUndefined();
  });

  it('ends with zeros where its file ends within a page', () => {
    const code = codeFile([RVA], Buffer.alloc(OFFSET + 100, NOP));
    const [run] = code.runs;
    if (run === undefined) throw new Error('no pages');
    const bytes = code.bytesFor(fd, run, run.start, run.end);
    expect(bytes.length).toBe(PAGE_SIZE);
    expect([...bytes.subarray(99, 102)]).toEqual([NOP, 0, 0]);
  });

  it('reads and writes long runs in pieces', () => {
    const pages = 150;
    const places = Array.from({ length: pages }, (_, page) => RVA + page * PAGE_SIZE + page);
    const code = codeFile(places, Buffer.alloc(OFFSET + pages * PAGE_SIZE, NOP));
    expect(code.runs.map(({ start, end, offset }) => [(end - start) / PAGE_SIZE, offset - start])).toEqual([
      [64, OFFSET - RVA],
      [64, OFFSET - RVA],
      [22, OFFSET - RVA],
    ]);
    expect(code.count).toBe(pages);
    expect(
      places.every((place, index) => code.indexOf(place) === index && code.originalOf(index) === NOP),
    ).toBe(true);
  });
});

describe('writtenPages', () => {
  const places = [0, 3, 5].map((page) => RVA + page * PAGE_SIZE + 16);

  it('are those with breakpoints, but those that an entered function reaches into', () => {
    const code = codeFile(places);
    const region = regionAt(code, 0x10000, PAGES);
    const regions = new Regions();
    regions.add(region);
    const pages = () =>
      regions.writtenPages().map(({ start, end }) => [(start - 0x10000) / 4096, (end - 0x10000) / 4096]);
    expect(pages()).toEqual([
      [0, 1],
      [3, 4],
      [5, 6],
    ]);
    // It reaches up to the next breakpoint, which stands in page 5 behind its start.
    region.hit[1] = 1;
    expect(pages()).toEqual([[0, 1]]);
    region.hit[0] = 1;
    expect(pages()).toEqual([]);
  });

  it('can be asked of a part, and follow what is unmapped', () => {
    const regions = new Regions();
    regions.add(regionAt(codeFile(places), 0x10000, PAGES));
    expect(regions.writtenPages(range(0x13000, 0x15000))).toEqual([range(0x13000, 0x14000)]);
    const gone = range(0x12000, 0x14000);
    regions.remove(regions.within(gone), gone);
    expect(regions.writtenPages()).toEqual([range(0x10000, 0x11000), range(0x15000, 0x16000)]);
  });
});

describe('Regions', () => {
  const code = codeFile([]);

  it('a copy has its own hits, shared by pieces of one mapping; regions that came later stay', () => {
    const first = regionAt(codeFile([RVA, RVA + 7 * PAGE_SIZE]), 0x10000, PAGES);
    const regions = new Regions([first]);
    const hole = range(0x12000, 0x13000);
    regions.remove(regions.within(hole), hole);
    const copy = regions.copy();
    const [low, high] = [...copy];
    if (low !== undefined) low.hit[1] = MET;
    expect(high?.hit[1]).toBe(1);
    expect([...regions][1]?.hit[1]).toBe(NOT_MET);
    expect([...copy.copy()][0]?.hit[1]).toBe(MET_BEFORE);
    // The parent has ended before its child was heard of.
    copy.forgetHits();
    expect([...copy.copy()][0]?.hit).toEqual(new Uint8Array(2));
    // Unmapped and mapped anew before the first call was heard to have ended.
    const gone = regions.within(range(0x10000, 0x18000));
    const later = regionAt(code, 0x10000, PAGES);
    regions.remove(gone, later);
    regions.add(later);
    regions.remove(gone, later);
    expect([...regions]).toEqual([later]);
  });

  it('agrees with a map of pages', () => {
    const steps = fc.array(
      fc.record({ add: fc.boolean(), page: fc.nat({ max: 30 }), pages: fc.integer({ min: 1, max: 6 }) }),
      { maxLength: 25 },
    );
    fc.assert(
      fc.property(steps, (list) => {
        const regions = new Regions();
        const plain = new Map<number, Region>();
        for (const { add, page, pages } of list) {
          const at = range(page * PAGE_SIZE, (page + pages) * PAGE_SIZE);
          const region = regionAt(code, at.start, pages);
          if (add) regions.add(region);
          else regions.remove(regions.within(at), at);
          for (let i = page; i < page + pages; i++) {
            if (add) plain.set(i, region);
            else plain.delete(i);
          }
        }
        for (let page = 0; page < 40; page++) {
          const found = regions.find(page * PAGE_SIZE + 7);
          expect(found?.bias).toBe(plain.get(page)?.bias);
          expect(found?.hit).toBe(plain.get(page)?.hit);
        }
        const left = [...regions];
        for (const [i, region] of left.entries()) {
          expect(region.end).toBeLessThanOrEqual(left[i + 1]?.start ?? Number.MAX_SAFE_INTEGER);
        }
      }),
    );
  });
});
