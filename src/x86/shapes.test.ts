/** What is remembered of an instruction must hold for every other one that begins alike: judged by decoding anew. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRange, ENOUGH, type Insn } from './decode.ts';
import { OperationReader } from './operations.ts';
import { NO_SHAPE, shapeAt } from './shapes.ts';

const AT = 0x10_0000;
const LONGEST = 15;

/** The first instruction as it is remembered, or decoded and then remembered; undefined where it is refused. */
function first(bytes: Uint8Array): Insn | undefined {
  let found: Insn | undefined;
  decodeRange(bytes, AT, (insn) => {
    found = { ...insn };
    return ENOUGH;
  });
  return found;
}

/** The same, always decoded. */
function decoded(bytes: Uint8Array): Insn | undefined {
  const reader = new OperationReader(bytes, AT);
  try {
    return reader.read(AT)?.insn;
  } finally {
    reader.free();
  }
}

/** Instructions that begin alike, remembered against decoded. */
class Comparison {
  readonly differences: string[] = [];
  remembered = 0;

  add(head: readonly number[], tails: readonly (readonly number[])[]): void {
    for (const tail of tails) {
      const bytes = Uint8Array.from([...head, ...tail].slice(0, LONGEST));
      if (shapeAt(bytes, 0) !== NO_SHAPE) this.remembered++;
      const [known, anew] = [first(bytes), decoded(bytes)].map((insn) => JSON.stringify(insn));
      if (known !== anew) this.differences.push(`${Buffer.from(bytes).toString('hex')}: ${known}, ${anew}`);
    }
  }
}

const TAILS = [0x00, 0x25, 0xff].map((byte) => Array<number>(LONGEST).fill(byte));
const PREFIXES = [[], [0x66], [0xf2], [0xf3], [0x48], [0x45], [0x67], [0xf0], [0x66, 0x49], [0x3e]];
const MAPS = [
  { map: 'one byte', bytes: [] },
  { map: '0f', bytes: [0x0f] },
  { map: '0f 38', bytes: [0x0f, 0x38] },
  { map: '0f 3a', bytes: [0x0f, 0x3a] },
];

describe('what is remembered of instructions', () => {
  it.each(MAPS)('holds for all that begin alike: opcodes of $map', ({ bytes: lead }) => {
    const comparison = new Comparison();
    for (const prefixes of lead.length < 2 ? PREFIXES : PREFIXES.slice(0, 5)) {
      for (let opcode = 0; opcode < 256; opcode++) {
        for (const modrm of [0x00, 0x04, 0x05, 0x7c, 0x94, 0xf8]) {
          comparison.add([...prefixes, ...lead, opcode, modrm], TAILS);
        }
      }
    }
    expect(comparison.differences).toEqual([]);
    expect(comparison.remembered).toBeGreaterThan(250);
  });

  const byte = fc.integer({ min: 0, max: 255 });
  const many = fc.array(byte, { minLength: LONGEST, maxLength: LONGEST });
  const tails = fc.array(many, { minLength: 4, maxLength: 4 });
  const vector = fc.oneof(
    fc.tuple(fc.constant(0xc5), byte),
    fc.tuple(fc.constant(0xc4), fc.constantFrom(0xe1, 0xe2, 0xe3, 0x42), byte),
    fc.tuple(fc.constant(0x62), fc.constantFrom(0xf1, 0xf2, 0xf3, 0x71, 0xf5, 0xf6), byte, byte),
  );

  it('holds for vector instructions, also where an operand names a register twice', () => {
    const comparison = new Comparison();
    fc.assert(
      fc.property(vector, byte, byte, tails, (prefix, opcode, modrm, behind) => {
        comparison.add([...prefix, opcode, modrm], behind);
        expect(comparison.differences).toEqual([]);
      }),
      { numRuns: 6000 },
    );
    expect(comparison.remembered).toBeGreaterThan(1000);
  });

  it('holds for any bytes', () => {
    const comparison = new Comparison();
    fc.assert(
      fc.property(many, tails, fc.integer({ min: 1, max: 6 }), (bytes, behind, cut) => {
        comparison.add(bytes.slice(0, cut), behind);
        expect(comparison.differences).toEqual([]);
      }),
      { numRuns: 3000 },
    );
  });

  it('is nothing where what follows decides: gathers, 3DNow!, XOP', () => {
    // vgatherdps %ymm0, (%rax,%ymm1), %ymm2; with the index in the register of the mask it is refused.
    expect(first(Uint8Array.of(0xc4, 0xe2, 0x7d, 0x92, 0x14, 0x08))).toMatchObject({ length: 6 });
    expect(first(Uint8Array.of(0xc4, 0xe2, 0x7d, 0x92, 0x14, 0x00))).toBeUndefined();
    // pfadd; 0f is no opcode of theirs.
    expect(first(Uint8Array.of(0x0f, 0x0f, 0xc1, 0x9e))).toMatchObject({ length: 4 });
    expect(first(Uint8Array.of(0x0f, 0x0f, 0xc1, 0x0f))).toBeUndefined();
    expect(shapeAt(Uint8Array.of(0x8f, 0xe9, 0x78, 0xe1, 0xc1), 0)).toBe(NO_SHAPE);
  });

  it('refuses an instruction that the bytes end in, though it is known', () => {
    expect(first(Uint8Array.of(0xe8, 0, 0, 0, 0))).toMatchObject({ flow: 'call', length: 5 });
    expect(first(Uint8Array.of(0xe8, 0, 0, 0))).toBeUndefined();
    expect(first(Uint8Array.of(0x48, 0x8b, 0x05, 1, 0, 0, 0))).toMatchObject({ ipTarget: AT + 8 });
    expect(first(Uint8Array.of(0x48, 0x8b, 0x05, 1, 0, 0))).toBeUndefined();
  });
});
