/** The assembled filters, run by a small interpreter of classic BPF over a table of calls. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assembleFilter, SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF, type Trap } from './bpf.ts';

const X86_64 = 0xc000003e;

/** struct seccomp_data. */
function call(nr: number, args: readonly bigint[] = [], arch = X86_64): Buffer {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(nr, 0);
  data.writeUInt32LE(arch, 4);
  args.forEach((value, i) => {
    data.writeBigUInt64LE(BigInt.asUintN(64, value), 16 + 8 * i);
  });
  return data;
}

/** What the kernel answers; fails on an instruction that it would refuse. */
function run(program: Buffer, data: Buffer): number {
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 8) {
    const code = program.readUInt16LE(at);
    const [jt, jf, k] = [program[at + 2] ?? 0, program[at + 3] ?? 0, program.readUInt32LE(at + 4)];
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x15) at += 8 * (accumulator === k ? jt : jf);
    else if (code === 0x45) at += 8 * ((accumulator & k) !== 0 ? jt : jf);
    else if (code === 0x06) return k;
    else throw new Error(`instruction ${code} at ${at}`);
  }
  throw new Error('fell off the end');
}

const TRAPS: readonly Trap[] = [
  { nr: 257 },
  { nr: 262, when: [[{ kind: 'no-bit', arg: 3, bits: 0x1000 }]] },
  {
    nr: 9,
    when: [
      [
        { kind: 'no-bit', arg: 3, bits: 0x20 },
        { kind: 'any-bit', arg: 2, bits: 2 },
      ],
      [{ kind: 'equals', arg: 0, value: 77 }],
    ],
  },
  { nr: 8, when: [[{ kind: 'differs', arg: 1, value: 0 }]] },
  { nr: 17, when: [[{ kind: 'not-zero', arg: 3 }]] },
];
const program = assembleFilter(TRAPS, SECCOMP_RET_USER_NOTIF);

describe('assembleFilter', () => {
  it.each<[string, Buffer, boolean]>([
    ['a call without conditions', call(257), true],
    ['a call that is not named', call(3), false],
    ['no-bit: clear', call(262, [0n, 0n, 0n, 0n]), true],
    ['no-bit: set', call(262, [0n, 0n, 0n, 0x1100n]), false],
    ['both of one alternative', call(9, [0n, 0n, 3n, 2n]), true],
    ['one of one alternative', call(9, [0n, 0n, 1n, 2n]), false],
    ['the other alternative', call(9, [77n, 0n, 1n, 0x22n]), true],
    ['differs: equal', call(8, [0n, 0n]), false],
    ['differs', call(8, [0n, 5n]), true],
    ['not-zero: zero', call(17, [0n, 0n, 0n, 0n]), false],
    ['not-zero: low half', call(17, [0n, 0n, 0n, 1n]), true],
    ['not-zero: high half', call(17, [0n, 0n, 0n, 1n << 32n]), true],
    ['another architecture', call(257, [], 0x40000003), false],
    ['x32', call(257 + 0x40000000), false],
  ])('%s', (_name, data, trapped) => {
    expect(run(program, data)).toBe(trapped ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW);
  });

  it('agrees with the conditions as they read, for any call', () => {
    const args = fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 6, maxLength: 6 });
    const word = (value: bigint | undefined): number => Number(BigInt.asUintN(32, value ?? 0n));
    fc.assert(
      fc.property(fc.constantFrom(8, 9, 17, 257, 262, 1), args, (nr, values) => {
        const expected = TRAPS.some(
          (trap) =>
            trap.nr === nr &&
            (trap.when ?? [[]]).some((all) =>
              all.every((condition) => {
                const low = word(values[condition.arg]);
                if (condition.kind === 'any-bit') return (low & condition.bits) !== 0;
                if (condition.kind === 'no-bit') return (low & condition.bits) === 0;
                if (condition.kind === 'equals') return low === condition.value;
                if (condition.kind === 'differs') return low !== condition.value;
                return values[condition.arg] !== 0n;
              }),
            ),
        );
        expect(run(program, call(nr, values)) === SECCOMP_RET_USER_NOTIF).toBe(expected);
      }),
    );
  });
});
