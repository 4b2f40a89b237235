/** Images whose addresses slide: the same program at other addresses at each start. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '../src/base/brands.ts';
import { planChecksum } from '../src/base/checksum.ts';
import { ENVELOPE } from '../src/base/envelope.ts';
import {
  LINKED_HEADER,
  LINKED_SLID_PAGE,
  LINKED_SLIDE,
  REFUSALS,
} from '../src/share/linked/linked-layout.ts';
import {
  type BuiltImage,
  both,
  expectLinked,
  expectPlain,
  expectSame,
  RestoreScene,
  start,
} from './support/restore-scene.ts';

const STARTS = 200;
const SYS_MADVISE = '28';
const SYS_GETRANDOM = '318';

const scene = new RestoreScene();
let image: BuiltImage;
let joined: BuiltImage;
let fixed: BuiltImage;
let refuse = '';

beforeAll(async () => {
  const slides = { slides: true };
  image = await scene.build(scene.compile('linked'), 'files', slides);
  joined = await scene.build(image.program, 'joined', slides);
  fixed = await scene.build(scene.compile('fixed', '-no-pie'), 'files', slides);
  refuse = scene.helper('refuse-call');
});
afterAll(() => scene.remove());

/** Where the first page of each file is that a start has mapped, in ascending order. */
async function placesOf(built: BuiltImage): Promise<ReadonlyMap<string, number>> {
  const child = spawn(built.copy, ['pause'], { stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    await once(child.stdout, 'data');
    const maps = readFileSync(`/proc/${child.pid}/maps`, 'utf8');
    const heads = maps.matchAll(/^([0-9a-f]+)-\S+ \S+ 00000000 \S+ \d+ +(\/.*)$/gm);
    return new Map([...heads].map(([, at = '', path = '']) => [basename(path), Number.parseInt(at, 16)]));
  } finally {
    child.kill('SIGKILL');
  }
}

describe('an image whose addresses slide', () => {
  it(`starts the same program ${STARTS} times at other addresses`, () => {
    const plain = start(image.program, []);
    for (const built of [image, joined]) {
      const bases = new Set<number | undefined>();
      for (let i = 0; i < STARTS / 2; i += 1) {
        const ours = start(built.copy, []);
        expectSame({ plain, ours });
        expect(built.isFrom(ours)).toBe(true);
        bases.add(ours.base);
      }
      // One in 2^32 is the same as another one.
      expect(bases.size).toBe(STARTS / 2);
    }
  });

  it('has the program and its libraries elsewhere at each start, by amounts of their own', async () => {
    const [one, other] = [await placesOf(image), await placesOf(image)];
    expect([...one.keys()]).toEqual([...other.keys()]);
    const slid = (name: string) => (other.get(name) ?? Number.NaN) - (one.get(name) ?? Number.NaN);
    const libraries = slid('libc.so.6');
    expect(libraries).not.toBe(0);
    for (const name of ['liblinked.so', 'ld-linux-x86-64.so.2']) expect(slid(name)).toBe(libraries);
    const program = slid(basename(image.copy));
    expect(program).not.toBe(0);
    expect(program).not.toBe(libraries);
  });

  it('slides a program of fixed addresses not, and its libraries', () => {
    expect(fixed.image.slide?.program.places).toBe(1);
    const plain = start(fixed.program, []);
    const bases = new Set<number | undefined>();
    for (let i = 0; i < 20; i += 1) {
      const ours = start(fixed.copy, []);
      expectSame({ plain, ours });
      expect(fixed.isFrom(ours)).toBe(true);
      bases.add(ours.base);
    }
    expect(bases.size).toBe(20);
  });

  it('has its lowest addresses where random ones are switched off', () => {
    for (const built of [image, joined, fixed]) {
      const pair = both(built, [], { through: ['setarch', '-R'] });
      expectSame(pair);
      expect(pair.ours.base).toBe(built.image.base);
    }
  });

  it('has no fewer places than the kernel', () => {
    const { slide } = image.image;
    // The kernel has 2^28 places.
    expect(slide?.rest.places).toBeGreaterThan(2 ** 28);
    expect(slide?.program.places).toBeGreaterThan(2 ** 28);
  });

  it('does without pages that are asked for together, but not without random numbers', () => {
    for (const built of [image, joined, fixed]) {
      expectLinked(built, { through: [refuse, SYS_MADVISE] });
      expectPlain(built, { through: [refuse, SYS_GETRANDOM] });
    }
  });

  it('slides words that are not aligned, and those that go over the end of a page', async () => {
    for (const flag of ['-fPIE', '-no-pie']) {
      const program = scene.compileProgram(`odd${flag}`, 'odd-words.c', flag, scene.library);
      for (const variant of ['files', 'joined'] as const) {
        const built = await scene.build(program, variant, { slides: true });
        const odd = built.image.fixUps.filter(({ kind }) => kind === 'slid-rest' || kind === 'slid-program');
        expect(odd.length).toBeGreaterThan(6);
        const isOver = odd.some(({ at }) => at % PAGE_SIZE > PAGE_SIZE - 8);
        expect(isOver).toBe(flag === '-fPIE');
        for (let i = 0; i < 5; i += 1) {
          const pair = both(built, []);
          expectSame(pair);
          expect(pair.ours.stdout).toBe('right 8 over 1\n');
          expect(built.isFrom(pair.ours)).toBe(true);
        }
      }
    }
  });

  it('does not listen to what the table says of pages that are not the image’s', () => {
    const bytes = Buffer.from(image.bytes);
    const head = bytes.readUInt32LE(ENVELOPE.head_size);
    const strings = head - bytes.readUInt32LE(LINKED_HEADER.strings_size);
    const count = image.image.slide?.pages.length ?? 0;
    const pages = strings - count * LINKED_SLID_PAGE.size;
    const slide = pages - LINKED_SLIDE.size;
    expect(bytes.readUInt32LE(slide + LINKED_SLIDE.page_count)).toBe(count);
    const last = pages + (count - 1) * LINKED_SLID_PAGE.size;
    const clean = image.image.maps.find(({ source }) => source.kind === 'file')?.at ?? 0;
    const word = (at: number, value: number) => (copy: Buffer) => copy.writeBigUInt64LE(BigInt(value), at);
    const changes: ((copy: Buffer) => void)[] = [
      word(pages + LINKED_SLID_PAGE.at, clean),
      word(pages + LINKED_SLID_PAGE.at, 0),
      word(pages + LINKED_SLID_PAGE.at, 8 + (image.image.slide?.pages[0]?.at ?? 0)),
      word(last + LINKED_SLID_PAGE.at, 2 ** 47),
      (copy) => copy.writeUInt32LE(2, pages + LINKED_SLID_PAGE.into),
      word(slide + LINKED_SLIDE.unit, 0),
      word(slide + LINKED_SLIDE.unit, 100),
      word(slide + LINKED_SLIDE.places, 0),
      word(slide + LINKED_SLIDE.places, 2 ** 40),
      word(slide + LINKED_SLIDE.program_unit, 2 ** 46),
      (copy) => copy.writeUInt32LE(count - 1, slide + LINKED_SLIDE.page_count),
      (copy) => copy.writeUInt32LE(2 ** 31, slide + LINKED_SLIDE.page_count),
    ];
    for (const change of changes) {
      const copy = Buffer.from(bytes);
      change(copy);
      copy.writeBigUInt64LE(planChecksum(copy.subarray(ENVELOPE.size, head)), ENVELOPE.head_checksum);
      image.with(copy, () => expectPlain(image));
    }
    expectLinked(image);
  });

  it('answers whatever its tables hold, their checksum right', () => {
    const head = image.bytes.readUInt32LE(ENVELOPE.head_size);
    const edits = fc.array(fc.tuple(fc.integer({ min: 1, max: 4000 }), fc.nat(255)), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(edits, (changes) => {
        const copy = Buffer.from(image.bytes);
        for (const [before, value] of changes) copy.writeUInt8(value, head - before);
        copy.writeBigUInt64LE(planChecksum(copy.subarray(ENVELOPE.size, head)), ENVELOPE.head_checksum);
        expect(REFUSALS).toContain(image.with(copy, () => image.answer()));
      }),
      { numRuns: 100 },
    );
  });
});
