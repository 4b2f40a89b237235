import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRange, type Insn } from './decode.ts';

const AT = 0x1000;

/** The instructions of hexadecimal bytes; undefined where they are refused. */
function decode(hex: string): Insn[] | undefined {
  const bytes = Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  const seen: Insn[] = [];
  return decodeRange(bytes, AT, (insn) => seen.push({ ...insn })) ? seen : undefined;
}

/** One instruction's properties, those of the plainest one left out. */
function one(hex: string): Partial<Insn> {
  const [insn, more] = decode(hex) ?? [];
  expect(more).toBeUndefined();
  const plain: Partial<Insn> = { at: AT, flow: 'next', target: -1, branchSize: 0, ipTarget: -1, fieldAt: -1 };
  return Object.fromEntries(
    Object.entries(insn ?? {}).filter(([name, value]) =>
      Object.entries(plain).every(([n, v]) => n !== name || v !== value),
    ),
  );
}

describe('decodeRange', () => {
  it('follows direct branches of both sizes', () => {
    expect(one('eb fe')).toEqual({ length: 2, flow: 'jump', target: AT, branchSize: 1 });
    expect(one('e9 fb 00 00 00')).toEqual({
      length: 5,
      flow: 'jump',
      target: 0x1100,
      branchSize: 4,
      fieldAt: 0x1001,
    });
    expect(one('75 10')).toEqual({ length: 2, flow: 'conditional', target: 0x1012, branchSize: 1 });
    expect(one('0f 84 00 01 00 00')).toEqual({
      length: 6,
      flow: 'conditional',
      target: 0x1106,
      branchSize: 4,
      fieldAt: 0x1002,
    });
    expect(one('e8 00 00 00 00')).toEqual({
      length: 5,
      flow: 'call',
      target: 0x1005,
      branchSize: 4,
      fieldAt: 0x1001,
    });
  });

  it('follows loop, jrcxz and xbegin', () => {
    expect(one('e2 f0')).toEqual({ length: 2, flow: 'conditional', target: 0xff2, branchSize: 1 });
    expect(one('e3 02')).toEqual({ length: 2, flow: 'conditional', target: 0x1004, branchSize: 1 });
    expect(one('67 e3 02')).toEqual({ length: 3, flow: 'conditional', target: 0x1005, branchSize: 1 });
    expect(one('c7 f8 0a 00 00 00')).toEqual({
      length: 6,
      flow: 'conditional',
      target: 0x1010,
      branchSize: 4,
      fieldAt: 0x1002,
    });
    expect(one('c6 f8 00')).toEqual({ length: 3 });
    expect(one('0f 01 d5')).toEqual({ length: 3 });
  });

  it('sees through prefixes that change nothing for a branch', () => {
    expect(one('f2 e9 00 00 00 00')).toMatchObject({ flow: 'jump', target: 0x1006, fieldAt: 0x1002 });
    expect(one('67 e8 00 00 00 00')).toMatchObject({ flow: 'call', target: 0x1006, fieldAt: 0x1002 });
    expect(one('66 66 48 e8 00 00 00 00')).toMatchObject({ flow: 'call', target: 0x1008, fieldAt: 0x1004 });
    expect(one('2e 74 00')).toMatchObject({ flow: 'conditional', target: 0x1003, branchSize: 1 });
  });

  it('tells indirect branches, and where they read their target', () => {
    expect(one('ff e0')).toEqual({ length: 2, flow: 'indirect-jump' });
    expect(one('3e ff e0')).toEqual({ length: 3, flow: 'indirect-jump' });
    expect(one('ff 25 00 10 00 00')).toEqual({
      length: 6,
      flow: 'indirect-jump',
      ipTarget: 0x2006,
      fieldAt: 0x1002,
    });
    expect(one('ff d0')).toEqual({ length: 2, flow: 'indirect-call' });
    expect(one('ff 15 00 10 00 00')).toEqual({
      length: 6,
      flow: 'indirect-call',
      ipTarget: 0x2006,
      fieldAt: 0x1002,
    });
    expect(one('ff 24 c5 00 10 40 00')).toEqual({ length: 7, flow: 'indirect-jump' });
  });

  it('tells where control ends and where it goes on', () => {
    expect(one('c3')).toEqual({ length: 1, flow: 'return' });
    expect(one('f3 c3')).toEqual({ length: 2, flow: 'return' });
    expect(one('0f 0b')).toEqual({ length: 2, flow: 'stop' });
    expect(one('0f b9 40 02')).toEqual({ length: 4, flow: 'stop' });
    expect(one('f4')).toEqual({ length: 1, flow: 'stop' });
    expect(one('cc')).toEqual({ length: 1 });
    expect(one('cd 80')).toEqual({ length: 2 });
    expect(one('0f 05')).toEqual({ length: 2 });
    expect(one('f3 0f 1e fa')).toEqual({ length: 4 });
  });

  it('finds the field of a rip-relative operand in front of an immediate', () => {
    expect(one('48 8d 05 34 12 00 00')).toEqual({ length: 7, ipTarget: 0x223b, fieldAt: 0x1003 });
    expect(one('83 3d 34 12 00 00 07')).toEqual({ length: 7, ipTarget: 0x223b, fieldAt: 0x1002 });
    expect(one('66 c7 05 00 00 00 00 00 00')).toEqual({ length: 9, ipTarget: 0x1009, fieldAt: 0x1003 });
    expect(one('c7 05 00 00 00 00 00 00 00 00')).toEqual({ length: 10, ipTarget: 0x100a, fieldAt: 0x1002 });
    expect(one('c4 e3 79 0f 05 10 00 00 00 04')).toEqual({ length: 10, ipTarget: 0x101a, fieldAt: 0x1005 });
  });

  it('keeps the field where an address is below the module', () => {
    expect(one('48 8d 05 00 00 ff ff')).toEqual({ length: 7, fieldAt: 0x1003 });
    expect(one('e8 00 00 ff ff')).toEqual({ length: 5, flow: 'call', branchSize: 4, fieldAt: 0x1001 });
  });

  it('refuses what processors differ in, what wraps, what is no code and what is cut off', () => {
    expect(decode('66 e8 00 00 00 00')).toBeUndefined();
    expect(decode('66 eb 00')).toBeUndefined();
    expect(decode('48 66 e8 00 00 00 00')).toBeUndefined();
    expect(decode('67 48 8d 05 00 00 00 00')).toBeUndefined();
    expect(decode('06')).toBeUndefined();
    expect(decode('90 e8 00 00')).toBeUndefined();
  });

  it('accepts nothing, and shows what comes before a refusal', () => {
    expect(decode('')).toEqual([]);
    let seen = 0;
    expect(decodeRange(Uint8Array.of(0x90, 0x90, 0x06), AT, () => seen++)).toBe(false);
    expect(seen).toBe(2);
  });

  it('may be called by its own visitor', () => {
    const lengths: number[] = [];
    decodeRange(Uint8Array.of(0xff, 0xe0, 0x90), AT, (outer) => {
      decodeRange(Uint8Array.of(0x48, 0x89, 0xc3), AT, () => {});
      lengths.push(outer.length);
    });
    expect(lengths).toEqual([2, 1]);
  });
});

describe('decodeRange on any bytes', () => {
  const bytes = fc.uint8Array({ maxLength: 64 });

  it('shows instructions that follow each other, with fields inside them that lead to their targets', () => {
    fc.assert(
      fc.property(bytes, fc.integer({ min: 0, max: 2 ** 32 }), (code, at) => {
        let next = at;
        const view = new DataView(code.buffer, code.byteOffset, code.length);
        const whole = decodeRange(code, at, (insn) => {
          expect(insn.at).toBe(next);
          expect(insn.length).toBeGreaterThan(0);
          next += insn.length;
          const address = Math.max(insn.target, insn.ipTarget);
          expect(Math.min(insn.target, insn.ipTarget)).toBe(-1);
          if (insn.fieldAt < 0) return expect(insn.branchSize === 1 || address === -1).toBe(true);
          expect(insn.fieldAt).toBeGreaterThan(insn.at);
          expect(insn.fieldAt + 4).toBeLessThanOrEqual(next);
          const reached = next + view.getInt32(insn.fieldAt - at, true);
          expect(address).toBe(reached < 0 ? -1 : reached);
        });
        expect(next).toBeLessThanOrEqual(at + code.length);
        expect(whole).toBe(next === at + code.length);
      }),
      { numRuns: 2000 },
    );
  });

  it('sees the same wherever the bytes are cut between two instructions', () => {
    fc.assert(
      fc.property(bytes, fc.nat(64), (code, cut) => {
        const whole: Insn[] = [];
        decodeRange(code, AT, (insn) => whole.push({ ...insn }));
        const from = whole.find(({ at }) => at >= AT + cut)?.at;
        if (from === undefined) return;
        const rest: Insn[] = [];
        decodeRange(code.subarray(from - AT), from, (insn) => rest.push({ ...insn }));
        expect(rest).toEqual(whole.filter(({ at }) => at >= from));
      }),
      { numRuns: 500 },
    );
  });
});
