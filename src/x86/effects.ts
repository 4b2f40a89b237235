/** What instructions do with values, as far as following one through registers and flags asks for it. */
import type { Instruction } from 'iced-x86';
import { iced } from './iced.ts';
import { type Gpr, NONE, slotOf, WHOLE } from './registers.ts';

/**
 * How registers and flags come from those that were read, if the instruction does nothing else. `parts`: each part
 * from the same part (or, and, xor, not, mov), `up`: each from this part and those below (add, lea), `all`: each
 * from all that was read. Flags always come from all.
 */
export type Mixing = 'parts' | 'up' | 'all';

export interface Effects {
  /** Undefined where something else happens too: memory or vector registers are written, the stack is used, ... */
  readonly mixing: Mixing | undefined;
  /** It only puts a register elsewhere: to memory, onto the stack, into a vector register. */
  readonly stores: boolean;
  /** What it adds to rsp, if it does nothing else with it: pushes and pops of others, additions; 0 for all else. */
  readonly stackStep: number;
  /** The flags that it reads: iced-x86's RflagsBits, which fit 16 bits. */
  readonly readsFlags: number;
  /** The flags that have another value, or an undefined one, afterwards. */
  readonly setsFlags: number;
  /** A shift by what may be zero: then the flags stay. */
  readonly mayKeepFlags: boolean;
  /** It does nothing, and stands where code is aligned. */
  readonly isPadding: boolean;
}

/** @param isPlain it uses general registers alone, goes on to the next instruction, and not through fs or gs. */
export function effectsOf(raw: Instruction, isPlain: boolean): Effects {
  const trait = traitOf(raw);
  return {
    mixing: isPlain ? mixingOf(raw, trait) : undefined,
    stores: trait === 'store',
    stackStep: stackStep(raw),
    readsFlags: raw.rflagsRead,
    setsFlags: raw.rflagsModified,
    mayKeepFlags: trait === 'shift' && mayShiftByNothing(raw),
    isPadding: trait === 'padding',
  };
}

/** The register whose value makes no difference although it is read: `sbb r, r`, `or $-1, r`, `and $0, r`. */
export function ignoredRead(raw: Instruction): Gpr {
  const { Mnemonic, OpKind } = iced();
  const { mnemonic } = raw;
  if (mnemonic !== Mnemonic.Sbb && mnemonic !== Mnemonic.Or && mnemonic !== Mnemonic.And) return NONE;
  if (raw.op0Kind !== OpKind.Register) return NONE;
  const { register } = slotOf(raw.op0Register);
  if (raw.op1Kind === OpKind.Register)
    return mnemonic === Mnemonic.Sbb && raw.op1Register === raw.op0Register ? register : NONE;
  if (raw.op1Kind === OpKind.Memory || mnemonic === Mnemonic.Sbb) return NONE;
  const overwriting = mnemonic === Mnemonic.Or ? -1n : 0n;
  return BigInt.asIntN(64, raw.immediate(1)) === overwriting ? register : NONE;
}

/** Manuals leave the result of bsf and bsr undefined where the source is zero, so compilers do too. */
export const isScan = (raw: Instruction): boolean => traitOf(raw) === 'scan';

function mixingOf(raw: Instruction, trait: Trait | undefined): Mixing | undefined {
  const { OpKind, ConditionCode } = iced();
  const { opCount } = raw;
  if (raw.isStackInstruction || raw.isStringInstruction) return undefined;
  if (opCount === 0) return trait === 'sign' ? 'all' : undefined;
  if (raw.op0Kind !== OpKind.Register && trait !== 'comparison') return undefined;
  for (let i = 0; i < opCount; i++) {
    const operand = raw.opKind(i);
    const isPlain = operand === OpKind.Register || operand === OpKind.Memory;
    if (!isPlain && (operand < OpKind.Immediate8 || operand > OpKind.Immediate32to64)) return undefined;
  }
  const isConditionalMove = opCount === 2 && raw.conditionCode !== ConditionCode.None;
  if (trait === 'bitwise' || trait === 'store' || isConditionalMove) return 'parts';
  // The form of imul with one operand writes the upper half to rdx.
  return trait === 'carry' && (opCount > 1 || raw.mnemonic !== iced().Mnemonic.Imul) ? 'up' : 'all';
}

function stackStep(raw: Instruction): number {
  const { Mnemonic, OpKind, Register } = iced();
  const { mnemonic, op0Kind, op0Register, op1Kind } = raw;
  const isConstant = (kind: number): boolean => kind >= OpKind.Immediate8 && kind <= OpKind.Immediate32to64;
  const isRegister = op0Kind === OpKind.Register;
  const isOther = isRegister && slotOf(op0Register).register !== slotOf(Register.RSP).register;
  if (mnemonic === Mnemonic.Push || mnemonic === Mnemonic.Pop)
    return isOther || isConstant(op0Kind) ? raw.stackPointerIncrement : 0;
  if (!isRegister || op0Register !== Register.RSP || !isConstant(op1Kind)) return 0;
  const sign = mnemonic === Mnemonic.Add ? 1 : mnemonic === Mnemonic.Sub ? -1 : 0;
  return sign * Number(BigInt.asIntN(64, raw.immediate(1)));
}

function mayShiftByNothing(raw: Instruction): boolean {
  const { MemorySize, OpKind } = iced();
  const last = raw.opCount - 1;
  const isWide = slotOf(raw.op0Register).parts === WHOLE || raw.memorySize === MemorySize.UInt64;
  return raw.opKind(last) === OpKind.Register || (Number(raw.immediate(last)) & (isWide ? 63 : 31)) === 0;
}

type Trait = keyof typeof TRAITS;

const TRAITS = {
  bitwise: ['Or', 'And', 'Xor', 'Not'],
  carry: ['Add', 'Sub', 'Lea', 'Neg', 'Inc', 'Dec', 'Imul'],
  comparison: ['Cmp', 'Test', 'Bt'],
  padding: ['Nop'],
  scan: ['Bsf', 'Bsr'],
  shift: ['Shl', 'Shr', 'Sar', 'Sal', 'Shld', 'Shrd', 'Rol', 'Ror', 'Rcl', 'Rcr'],
  sign: ['Cwd', 'Cwde', 'Cdq', 'Cdqe', 'Cqo'],
  store: ['Mov', 'Push', 'Movd', 'Movq', 'Vmovd', 'Vmovq', 'Pinsrd', 'Pinsrq', 'Vpinsrd', 'Vpinsrq'],
} as const;

let traits: ReadonlyMap<number, Trait> | undefined;

function traitOf(raw: Instruction): Trait | undefined {
  traits ??= makeTraits();
  return traits.get(raw.mnemonic);
}

function makeTraits(): ReadonlyMap<number, Trait> {
  const { Mnemonic } = iced();
  const table = new Map<number, Trait>();
  for (const name of TRAITS.bitwise) table.set(Mnemonic[name], 'bitwise');
  for (const name of TRAITS.carry) table.set(Mnemonic[name], 'carry');
  for (const name of TRAITS.comparison) table.set(Mnemonic[name], 'comparison');
  for (const name of TRAITS.padding) table.set(Mnemonic[name], 'padding');
  for (const name of TRAITS.scan) table.set(Mnemonic[name], 'scan');
  for (const name of TRAITS.shift) table.set(Mnemonic[name], 'shift');
  for (const name of TRAITS.sign) table.set(Mnemonic[name], 'sign');
  for (const name of TRAITS.store) table.set(Mnemonic[name], 'store');
  return table;
}
