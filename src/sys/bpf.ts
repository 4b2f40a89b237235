/** A small assembler for classic BPF over struct seccomp_data: blocks of tests that end in a verdict. */

export const SECCOMP_RET_ALLOW = 0x7fff0000;
export const SECCOMP_RET_USER_NOTIF = 0x7fc00000;

const LD_ABS_W = 0x20;
const JEQ_K = 0x15;
const JSET_K = 0x45;
const RET_K = 0x06;

const AUDIT_ARCH_X86_64 = 0xc000003e;
/** x32 calls carry this bit in their number. */
const X32_SYSCALL_BIT = 0x40000000;

const OFFSET_NR = 0;
const OFFSET_ARCH = 4;
const lowOf = (arg: number): number => 16 + 8 * arg;
const highOf = (arg: number): number => 20 + 8 * arg;

/** A condition on a call's arguments, on their low 32 bits unless said otherwise. */
export type Condition =
  | { readonly kind: 'any-bit'; readonly arg: number; readonly bits: number }
  | { readonly kind: 'no-bit'; readonly arg: number; readonly bits: number }
  | { readonly kind: 'equals'; readonly arg: number; readonly value: number }
  | { readonly kind: 'differs'; readonly arg: number; readonly value: number }
  /** All 64 bits. */
  | { readonly kind: 'not-zero'; readonly arg: number };

/** A call to trap when all conditions of any one alternative hold; no alternative: always. */
export interface Trap {
  readonly nr: number;
  readonly when?: readonly (readonly Condition[])[];
}

interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

const load = (offset: number): Instruction => ({ code: LD_ABS_W, jt: 0, jf: 0, k: offset });
const verdict = (value: number): Instruction => ({ code: RET_K, jt: 0, jf: 0, k: value });

/** Instructions that fall through when the condition holds and jump `miss` past their end if not. */
function test(condition: Condition, miss: number): Instruction[] {
  const { arg } = condition;
  switch (condition.kind) {
    case 'any-bit':
      return [load(lowOf(arg)), { code: JSET_K, jt: 0, jf: miss, k: condition.bits }];
    case 'no-bit':
      return [load(lowOf(arg)), { code: JSET_K, jt: miss, jf: 0, k: condition.bits }];
    case 'equals':
      return [load(lowOf(arg)), { code: JEQ_K, jt: 0, jf: miss, k: condition.value }];
    case 'differs':
      return [load(lowOf(arg)), { code: JEQ_K, jt: miss, jf: 0, k: condition.value }];
    case 'not-zero':
      return [
        load(lowOf(arg)),
        { code: JEQ_K, jt: 0, jf: 2, k: 0 },
        load(highOf(arg)),
        { code: JEQ_K, jt: miss, jf: 0, k: 0 },
      ];
  }
}

function alternative(conditions: readonly Condition[], trapped: number): Instruction[] {
  // Built from the end, so that each test knows how far the end is.
  let block: Instruction[] = [verdict(trapped)];
  for (const condition of [...conditions].reverse()) block = [...test(condition, block.length), ...block];
  return block;
}

function blockOf(trap: Trap, trapped: number): Instruction[] {
  const body = (trap.when ?? [[]]).flatMap((conditions) => alternative(conditions, trapped));
  return [...body, verdict(SECCOMP_RET_ALLOW)];
}

/**
 * A filter that answers `trapped` for the traps and allows everything else.
 *
 * @returns instructions of 8 bytes each (struct sock_filter).
 */
export function assembleFilter(traps: readonly Trap[], trapped: number): Buffer {
  const program: Instruction[] = [
    load(OFFSET_ARCH),
    { code: JEQ_K, jt: 1, jf: 0, k: AUDIT_ARCH_X86_64 },
    verdict(SECCOMP_RET_ALLOW),
    load(OFFSET_NR),
    { code: JSET_K, jt: 0, jf: 1, k: X32_SYSCALL_BIT },
    verdict(SECCOMP_RET_ALLOW),
  ];
  for (const trap of traps) {
    const block = blockOf(trap, trapped);
    program.push({ code: JEQ_K, jt: 0, jf: block.length, k: trap.nr }, ...block);
  }
  program.push(verdict(SECCOMP_RET_ALLOW));
  return encode(program);
}

function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach((instruction, i) => {
    bytes.writeUInt16LE(instruction.code, i * 8);
    bytes.writeUInt8(instruction.jt, i * 8 + 2);
    bytes.writeUInt8(instruction.jf, i * 8 + 3);
    bytes.writeUInt32LE(instruction.k, i * 8 + 4);
  });
  return bytes;
}
