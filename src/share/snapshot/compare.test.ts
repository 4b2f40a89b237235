/** Comparison, on made-up memory: what it answers gives every run back, and it lets nothing pass that it cannot explain. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANCHORS } from '../model.ts';
import { type AnchorBases, deltasOf } from './anchors.ts';
import type { RunFacts } from './causes.ts';
import { type Comparison, compareRuns } from './compare.ts';
import type { Span } from './own-memory.ts';

const SIZE = 8192;
const OFFSET = 0x21000;

/** Distances between the anchors of the runs are random: no two differ alike. */
const BASES: readonly AnchorBases[] = [
  { program: 0x5555_1234_5000, arena: 0x6000_0020_0000, loader: 0x7f12_3456_7000, vdso: 0x7ffd_0123_4000 },
  { program: 0x5601_9876_5000, arena: 0x71a3_3b4c_d000, loader: 0x7ff1_0123_b000, vdso: 0x7ff9_8765_4000 },
  { program: 0x558a_0f0f_1000, arena: 0x5a01_0203_4000, loader: 0x7e45_6789_0000, vdso: 0x7e99_9111_1000 },
];

const facts = (run: number): RunFacts => ({
  argc: 7 + 11 * run,
  argv: 0x7ffc_0000_0000 + run,
  envp: 0x7ffc_1000_0000 + run * 5,
  auxv: 0x7ffc_2000_0000 + run * 3,
  stackStart: 0x7ffc_3000_0000 + run * 9,
  random: 0x7ffc_4000_0000 + run * 7,
  randomBytes: Buffer.alloc(16, run + 1),
  platform: 0x7ffc_5000_0000 + run * 2,
  execfn: 0x7ffc_6000_0000 + run * 4,
  break: 0x5700_0000_0000 + run * 0x7000,
  tid: 900 + run,
  hwcap: 5,
  stackLimit: 8n << 20n,
  apicId: run,
  execAt: 0n,
  stoppedAt: 1n,
});

interface Item {
  /** Bytes to leave free before it. */
  readonly gap: number;
  /** Index of the anchor; or undefined for bytes that differ without reason. */
  readonly into: number | undefined;
  readonly offset: number;
}

const item: fc.Arbitrary<Item> = fc.record({
  gap: fc.integer({ min: 0, max: 40 }),
  into: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 3 }) }, fc.constant(undefined)),
  offset: fc.integer({ min: -0x10_0000, max: 0x4000_0000 }),
});

interface Made {
  readonly runs: readonly Buffer[];
  readonly pointers: readonly { readonly at: number; readonly into: number }[];
  readonly odd: readonly number[];
}

/** Memory with the items one after another, at any alignment, between bytes that are the same in all runs. */
function memoryOf(items: readonly Item[], filler: number): Made {
  const runs = BASES.map(() => Buffer.alloc(SIZE, filler));
  const pointers: { at: number; into: number }[] = [];
  const odd: number[] = [];
  let at = 0;
  for (const { gap, into, offset } of items) {
    at += gap;
    // Unexplained bytes keep a distance, so that they spoil no pointer beside them.
    if (into === undefined) at += 16 - (at % 8);
    if (at + 24 > SIZE) break;
    runs.forEach((run, index) => {
      const anchor = ANCHORS[into ?? -1];
      const base = anchor === undefined ? undefined : BASES[index]?.[anchor];
      if (base === undefined)
        run.writeUInt32LE(
          0x9e3779b9 * (index + 1) - 0x1_0000_0000 * Math.floor((0x9e3779b9 * (index + 1)) / 0x1_0000_0000),
          at,
        );
      else run.writeBigInt64LE(BigInt(base + offset), at);
    });
    if (into === undefined) odd.push(at);
    else pointers.push({ at, into });
    at += into === undefined ? 16 : 8;
  }
  return { runs, pointers, odd };
}

function compared(runs: readonly Buffer[]): Comparison {
  const span: Span = { anchor: 'arena', offset: OFFSET, bytes: runs };
  const nowhere = { anchor: 'loader', offset: 0 } as const;
  return compareRuns([span], BASES[0] ?? BASES_MISSING, deltasOf(BASES), [0, 1, 2].map(facts), {
    threadPointer: nowhere,
    tidAt: nowhere,
    rseq: undefined,
  });
}
const BASES_MISSING: AnchorBases = { program: 0, arena: 0, loader: 0, vdso: 0 };

const arbitrary = fc.tuple(fc.array(item, { maxLength: 400 }), fc.integer({ min: 0, max: 255 }));

describe('the comparison', () => {
  it('finds every pointer, wherever it stands, and gives every run back', () => {
    fc.assert(
      fc.property(arbitrary, ([items, filler]) => {
        const { runs, pointers, odd } = memoryOf(items, filler);
        const { pointers: found, unexplained, contents } = compared(runs);
        const table = found.get('arena');
        expect(table?.at.map((at, i) => ({ at: at - OFFSET, into: table.into[i] }))).toEqual(pointers);
        expect(unexplained.map(({ offset }) => offset - OFFSET)).toEqual(odd);
        runs.forEach((run, index) => {
          const again = Buffer.from(contents[0] ?? []);
          for (const { at, into } of pointers) {
            const anchor = ANCHORS[into] ?? 'program';
            const base = BigInt(BASES[index]?.[anchor] ?? 0);
            again.writeBigInt64LE(again.readBigInt64LE(at) + base, at);
          }
          for (const at of odd) run.copy(again, at, at, at + 8);
          expect(again.equals(run)).toBe(true);
        });
      }),
      { numRuns: 200 },
    );
  });

  it('takes no address of one anchor for another’s, and half an address for none', () => {
    const halves = BASES.map(({ arena }) => {
      const run = Buffer.alloc(SIZE);
      run.writeUInt32LE(arena % 2 ** 32, 64);
      return run;
    });
    const mixed = BASES.map(({ arena, loader }, index) => {
      const run = Buffer.alloc(SIZE);
      run.writeBigUInt64LE(BigInt(index === 2 ? loader : arena), 64);
      return run;
    });
    for (const runs of [halves, mixed]) {
      expect(compared(runs).unexplained.map(({ offset }) => offset)).toEqual([OFFSET + 64]);
    }
  });

  it('does not overlook a word that differs in the last run alone', () => {
    const runs = BASES.map((_, index) => Buffer.alloc(SIZE, 7).fill(index === 2 ? 8 : 7, SIZE - 1));
    expect(compared(runs).unexplained).toEqual([
      {
        anchor: 'arena',
        offset: OFFSET + SIZE - 8,
        values: [0x0707070707070707n, 0x0707070707070707n, 0x0807070707070707n],
      },
    ]);
  });
});
