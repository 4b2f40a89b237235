import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeCfi, sliceCfi } from './cfi.ts';
import { phasesIn } from './dwarf-expression.ts';

/** An FDE's program of a lazy PLT, as ld writes it. */
const PLT = Uint8Array.from(
  Buffer.from('0e10460e184a0f0b770880003f1a3b2a3324220000000000', 'hex').subarray(0, 20),
);
const hex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : Buffer.from(bytes).toString('hex');

describe('call frame instructions', () => {
  it('decodes those of a PLT', () => {
    const seen: unknown[] = [];
    expect(
      decodeCfi(PLT, ({ at, end, advance, expressionAt }) => seen.push([at, end, advance, expressionAt])),
    ).toBe(true);
    expect(seen).toEqual([
      [0, 2, 0, -1],
      [2, 3, 6, -1],
      [3, 5, 0, -1],
      [5, 6, 10, -1],
      [6, 19, 0, 8],
      [19, 20, 0, -1],
    ]);
  });

  it('slices the first stub and the others of a PLT', () => {
    expect(hex(sliceCfi(PLT, 1, 0, 16))).toBe('0e10460e18');
    const stub = '0e100e180f0b770880003f1a3b2a332422';
    expect(hex(sliceCfi(PLT, 1, 16, 32))).toBe(stub);
    expect(hex(sliceCfi(PLT, 1, 0x640, 0x650))).toBe(stub);
    expect(hex(sliceCfi(PLT, 1, 3, 16))).toBe('0e10430e18');
  });

  it('refuses what it does not know', () => {
    for (const bad of ['01', '02', '0380', '0e', '0e80', '0f05', '0f8080808080', '3f', '17', '1c']) {
      expect({ bad, known: decodeCfi(Buffer.from(bad, 'hex'), () => {}) }).toEqual({ bad, known: false });
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        let next = 0;
        const known = decodeCfi(bytes, ({ at, end }) => {
          expect(at).toBe(next);
          next = end;
        });
        expect(next === bytes.length || !known).toBe(true);
      }),
    );
  });

  it('gives each place of a slice the instructions that it had', () => {
    const instruction = fc.oneof(
      fc.nat(63).map((n) => [0x40 | n]),
      fc.nat(255).map((n) => [0x02, n]),
      fc.nat(255).map((n) => [0x03, n, 1]),
      fc.constantFrom([0x0a], [0x0b], [0], [0x0e, 0x90, 1], [0x86, 2], [0xc6], [0x04, 1, 0, 1, 0]),
    );
    const rows = (program: Uint8Array, place: number): string[] => {
      const before: string[] = [];
      let at = 0;
      decodeCfi(program, (i) => {
        at += i.advance;
        if (i.advance === 0 && !i.isNop && at <= place) before.push(hex(program.subarray(i.at, i.end)) ?? '');
      });
      return before;
    };
    fc.assert(
      fc.property(
        fc.array(instruction),
        fc.nat(700),
        fc.nat(700),
        fc.nat(700),
        (parts, from, size, place) => {
          const program = Uint8Array.from(parts.flat());
          const slice = sliceCfi(program, 1, from, from + size + 1);
          const inside = place % (size + 1);
          expect(slice === undefined ? undefined : rows(slice, inside)).toEqual(rows(program, from + inside));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('refuses a slice between the units of code', () => {
    expect(hex(sliceCfi(Uint8Array.of(0x42, 0x0e, 8), 4, 4, 16))).toBe('410e08');
    expect(sliceCfi(Uint8Array.of(0x42, 0x0e, 8), 4, 2, 16)).toBeUndefined();
  });
});

describe('phasesIn', () => {
  it('finds where the lowest bits of the instruction pointer count', () => {
    const cases: readonly (readonly [string, readonly number[] | undefined])[] = [
      ['770880003f1a3b2a332422', [3]],
      ['778001', []],
      ['779884800006 23b8808000'.replace(' ', ''), []],
      ['381c0dc0ffffff1a0d80feffff22', []],
      ['7708800022', undefined],
      ['80807f3f1a', undefined],
      ['80003f', undefined],
      ['921000', undefined],
      ['038000000000000000', []],
      ['ff80', undefined],
    ];
    for (const [bytes, at] of cases) {
      expect({ bytes, at: phasesIn(Buffer.from(bytes, 'hex')) }).toEqual({ bytes, at });
    }
  });
});
