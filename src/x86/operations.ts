/**
 * Instructions with their operands and registers, for the few functions whose data flow is followed: each
 * takes as long as some twenty of `decodeRange`.
 */
import type { Decoder, Instruction, InstructionInfoFactory } from 'iced-x86';
import { emptyInsn, type Insn, readInsn } from './decode.ts';
import { iced } from './iced.ts';

/** A general register by its number in encodings: 0 rax, 1 rcx, 2 rdx, 3 rbx, 4 rsp, ..., 15 r15. */
export type Gpr = number;
export const NONE = -1;
/** rax and rdx, in which calls return. */
export const RESULTS: readonly Gpr[] = [0, 2];
/** What the psABI lets calls overwrite: rax, rcx, rdx, rsi, rdi, r8 to r11. */
export const CALLER_SAVED: readonly Gpr[] = [0, 1, 2, 6, 7, 8, 9, 10, 11];
export const GPRS = 16;

/** All parts of a register; a part is a bit: byte 0, byte 1, bytes 2 to 3, bytes 4 to 7. */
export const WHOLE = 0b1111;
/** The lower 32 bits. */
export const HALF = 0b0111;

/** What an instruction uses of one register. A conditional write is none: the old value may stay. */
export interface RegisterUse {
  readonly register: Gpr;
  /** The parts whose value matters. */
  readonly reads: number;
  /** The parts whose old value is gone. */
  readonly writes: number;
}

/** `[base + index * scale + displacement]`; rip-relative operands are in Insn. */
export interface MemoryOperand {
  readonly base: Gpr;
  readonly index: Gpr;
  readonly scale: number;
  readonly displacement: number;
  /** RVA of the displacement if it has 4 bytes, else -1. */
  readonly displacementAt: number;
}

/**
 * What addresses are computed by: `lea`; `move` (64 bits); `move32`; `extend`: movslq; `zero`: movzbl, movzwl;
 * `add` (64 bits). Each writes the register `to` from the register `source`, from `memory` or from `immediate`.
 * `compare`, `and`: the register `to` with `immediate`. `jump`: through `source` or `memory`, if it is no rip-relative
 * one. Everything else, and operands through fs and gs, is `other`: it has `uses` alone.
 */
export type OperationKind =
  | 'lea'
  | 'move'
  | 'move32'
  | 'extend'
  | 'zero'
  | 'add'
  | 'compare'
  | 'and'
  | 'jump'
  | 'other';

/**
 * How registers and flags come from those that were read, if the instruction does nothing else. `parts`: each part
 * from the same part (or, and, xor, not, move32), `up`: each from this part and those below (add, lea), `all`: each
 * from all that was read. Flags always come from all.
 */
export type Mixing = 'parts' | 'up' | 'all';

export interface Operation {
  readonly insn: Readonly<Insn>;
  readonly kind: OperationKind;
  readonly to: Gpr;
  readonly source: Gpr;
  /** What is read or written there; for `lea` what is computed, which a `lea` of other sizes does not show. */
  readonly memory: MemoryOperand | undefined;
  readonly immediate: number | undefined;
  /** RVA of the immediate if it has 4 bytes, else -1. */
  readonly immediateAt: number;
  /** Parts of the register that `compare` and `and` look at. */
  readonly parts: number;
  /** Each register once, whether the instruction names it or not. */
  readonly uses: readonly RegisterUse[];
  /** Undefined where something else happens too: memory or vector registers are written, the stack is used, ... */
  readonly mixing: Mixing | undefined;
  /** It only puts a register elsewhere: to memory, onto the stack, into a vector register. */
  readonly stores: boolean;
  /** The flags that it reads: iced-x86's RflagsBits, which fit 16 bits. */
  readonly readsFlags: number;
  /** The flags that have another value, or an undefined one, afterwards. */
  readonly setsFlags: number;
  /** A shift by what may be zero: then the flags stay. */
  readonly mayKeepFlags: boolean;
  /** It does nothing, and stands where code is aligned. */
  readonly isPadding: boolean;
}

/** Decodes single instructions anywhere in some code. Who makes one frees it. */
export class OperationReader {
  readonly #bytes: Uint8Array;
  readonly #at: number;
  readonly #decoder: Decoder;
  readonly #raw: Instruction;
  readonly #info: InstructionInfoFactory;

  /** @param at RVA of the first byte. */
  constructor(bytes: Uint8Array, at: number) {
    const { Decoder, DecoderOptions, Instruction, InstructionInfoFactory } = iced();
    this.#bytes = bytes;
    this.#at = at;
    this.#decoder = new Decoder(64, bytes, DecoderOptions.None);
    this.#raw = new Instruction();
    this.#info = new InstructionInfoFactory();
  }

  /** Undefined where nothing decodes, or what does is refused like in `decodeRange`. */
  read(address: number): Operation | undefined {
    const start = address - this.#at;
    if (start < 0 || start >= this.#bytes.length) return undefined;
    this.#decoder.position = start;
    this.#decoder.decodeOut(this.#raw);
    const insn = emptyInsn();
    if (!readInsn(this.#decoder, this.#raw, this.#bytes, start, this.#at, insn)) return undefined;
    const { Mnemonic, Register } = iced();
    const raw = this.#raw;
    const { uses, mayMix } = this.#uses();
    const base = {
      ...OTHER,
      insn,
      uses,
      readsFlags: raw.rflagsRead,
      setsFlags: raw.rflagsModified,
      mayKeepFlags: mayShiftByNothing(raw),
      isPadding: raw.mnemonic === Mnemonic.Nop || (raw.mnemonic === Mnemonic.Xchg && uses.length === 0),
      stores: STORES.some((name) => Mnemonic[name] === raw.mnemonic),
    };
    const { FS, GS } = Register;
    if (raw.segmentPrefix === FS || raw.segmentPrefix === GS) return base;
    const kind = kinds().get(raw.code) ?? 'other';
    const operation = this.#operands(insn, kind, base);
    return mayMix && operation.kind !== 'jump'
      ? { ...operation, mixing: this.#mixing(insn, kind) }
      : operation;
  }

  free(): void {
    this.#info.free();
    this.#raw.free();
    this.#decoder.free();
  }

  #operands(insn: Insn, kind: OperationKind, other: Operation): Operation {
    const { Mnemonic, OpKind } = iced();
    const raw = this.#raw;
    const first = raw.op0Kind;
    const offsets = this.#decoder.getConstantOffsets(raw);
    const { displacementOffset, displacementSize, immediateOffset, immediateSize } = offsets;
    offsets.free();
    let memory: MemoryOperand | undefined;
    const isAddress = kind === 'other' && raw.mnemonic === Mnemonic.Lea;
    if (
      insn.fieldAt < 0 &&
      !isAddress &&
      (first === OpKind.Memory || (raw.opCount > 1 && raw.op1Kind === OpKind.Memory))
    )
      memory = {
        base: slotOf(raw.memoryBase).register,
        index: slotOf(raw.memoryIndex).register,
        scale: raw.memoryIndexScale,
        displacement: Number(BigInt.asIntN(64, raw.memoryDisplacement)),
        displacementAt: displacementSize === 4 ? insn.at + displacementOffset : NONE,
      };
    if (kind === 'jump') {
      if (insn.fieldAt >= 0) return other;
      return {
        ...other,
        kind,
        memory,
        source: memory === undefined ? slotOf(raw.op0Register).register : NONE,
      };
    }
    if (first !== OpKind.Register) return { ...other, memory };
    const slot = slotOf(raw.op0Register);
    const second = raw.op1Kind;
    const hasImmediate = second >= OpKind.Immediate8 && second <= OpKind.Immediate32to64;
    return {
      ...other,
      kind,
      to: slot.register,
      parts: slot.parts,
      memory,
      source: second === OpKind.Register ? slotOf(raw.op1Register).register : NONE,
      immediate: hasImmediate ? Number(BigInt.asIntN(64, raw.immediate(1))) : undefined,
      immediateAt: hasImmediate && immediateSize === 4 ? insn.at + immediateOffset : NONE,
    };
  }

  /** Of an instruction that uses no other registers than general ones. */
  #mixing(insn: Insn, kind: OperationKind): Mixing | undefined {
    const { Mnemonic, OpKind } = iced();
    const raw = this.#raw;
    const { mnemonic, opCount } = raw;
    if (insn.flow !== 'next' || raw.isStackInstruction || raw.isStringInstruction) return undefined;
    if (opCount === 0) return SIGN_EXTENSIONS.some((name) => Mnemonic[name] === mnemonic) ? 'all' : undefined;
    const isComparison = mnemonic === Mnemonic.Cmp || mnemonic === Mnemonic.Test;
    if (raw.op0Kind !== OpKind.Register && !isComparison) return undefined;
    for (let i = 0; i < opCount; i++) {
      const operand = raw.opKind(i);
      const isPlain = operand === OpKind.Register || operand === OpKind.Memory;
      if (!isPlain && (operand < OpKind.Immediate8 || operand > OpKind.Immediate32to64)) return undefined;
    }
    const isBitwise = kind === 'move32' || BITWISE.some((name) => Mnemonic[name] === mnemonic);
    if (isBitwise || isConditionalMove(raw)) return 'parts';
    // The form of imul with one operand writes the upper half to rdx.
    const isCarrying = CARRYING.some((name) => Mnemonic[name] === mnemonic);
    return isCarrying && (opCount > 1 || mnemonic !== Mnemonic.Imul) ? 'up' : 'all';
  }

  #uses(): { uses: RegisterUse[]; mayMix: boolean } {
    const uses = new Map<Gpr, RegisterUse>();
    let mayMix = true;
    const ignored = ignoredRead(this.#raw);
    const { Mnemonic, OpAccess } = iced();
    // Manuals leave the result undefined where the source is zero, so compilers do too.
    const isScan = this.#raw.mnemonic === Mnemonic.Bsf || this.#raw.mnemonic === Mnemonic.Bsr;
    const info = this.#info.info(this.#raw);
    for (const used of info.usedRegisters()) {
      const { register, parts } = slotOf(used.register);
      const access = used.access;
      used.free();
      mayMix &&= register !== NONE;
      if (register === NONE) continue;
      const before = uses.get(register);
      const reads = READS[access] && register !== ignored ? parts : 0;
      const writes = WRITES[access] || (isScan && access === OpAccess.CondWrite) ? parts : 0;
      uses.set(register, {
        register,
        reads: reads | (before?.reads ?? 0),
        writes: writes | (before?.writes ?? 0),
      });
    }
    info.free();
    return { uses: [...uses.values()], mayMix };
  }
}

const isConditionalMove = (raw: Instruction): boolean =>
  raw.conditionCode !== iced().ConditionCode.None && raw.opCount === 2;

const STORES = [
  'Mov',
  'Push',
  'Movd',
  'Movq',
  'Vmovd',
  'Vmovq',
  'Pinsrd',
  'Pinsrq',
  'Vpinsrd',
  'Vpinsrq',
] as const;
const BITWISE = ['Or', 'And', 'Xor', 'Not'] as const;
const CARRYING = ['Add', 'Sub', 'Lea', 'Neg', 'Inc', 'Dec', 'Imul'] as const;
const SIGN_EXTENSIONS = ['Cwd', 'Cwde', 'Cdq', 'Cdqe', 'Cqo'] as const;

/** The register whose value makes no difference although it is read: `sbb r, r`, `or $-1, r`, `and $0, r`. */
function ignoredRead(raw: Instruction): Gpr {
  const { Mnemonic, OpKind } = iced();
  const { mnemonic } = raw;
  if (mnemonic !== Mnemonic.Sbb && mnemonic !== Mnemonic.Or && mnemonic !== Mnemonic.And) return NONE;
  if (raw.op0Kind !== OpKind.Register) return NONE;
  const register = raw.op0Register;
  if (raw.op1Kind === OpKind.Register)
    return mnemonic === Mnemonic.Sbb && raw.op1Register === register ? slotOf(register).register : NONE;
  if (raw.op1Kind === OpKind.Memory || mnemonic === Mnemonic.Sbb) return NONE;
  const same = mnemonic === Mnemonic.Or ? -1n : 0n;
  return BigInt.asIntN(64, raw.immediate(1)) === same ? slotOf(register).register : NONE;
}

function mayShiftByNothing(raw: Instruction): boolean {
  const { MemorySize, Mnemonic, OpKind } = iced();
  if (!SHIFTS.some((name) => Mnemonic[name] === raw.mnemonic)) return false;
  const last = raw.opCount - 1;
  const isWide = slotOf(raw.op0Register).parts === WHOLE || raw.memorySize === MemorySize.UInt64;
  return raw.opKind(last) === OpKind.Register || (Number(raw.immediate(last)) & (isWide ? 63 : 31)) === 0;
}

const SHIFTS = ['Shl', 'Shr', 'Sar', 'Sal', 'Shld', 'Shrd', 'Rol', 'Ror', 'Rcl', 'Rcr'] as const;

const OTHER = {
  kind: 'other',
  to: NONE,
  source: NONE,
  memory: undefined,
  immediate: undefined,
  immediateAt: NONE,
  parts: 0,
  mixing: undefined,
  stores: false,
} as const;

/** By iced-x86's OpAccess: none, read, conditional read, write, conditional write, both, read and conditional write. */
const READS = [false, true, true, false, false, true, true, false];
const WRITES = [false, false, false, true, false, true, false, false];

interface Slot {
  readonly register: Gpr;
  readonly parts: number;
}

const NO_SLOT: Slot = { register: NONE, parts: 0 };
let slots: readonly Slot[] | undefined;

/** The general register and its parts that one of iced-x86's registers is. */
function slotOf(register: number): Slot {
  slots ??= makeSlots();
  return slots[register] ?? NO_SLOT;
}

function makeSlots(): readonly Slot[] {
  const { Register } = iced();
  const table: Slot[] = [];
  const row = (first: number, count: number, register: number, parts: number): void => {
    for (let i = 0; i < count; i++) table[first + i] = { register: register + i, parts };
  };
  row(Register.AL, 4, 0, 0b0001);
  row(Register.AH, 4, 0, 0b0010);
  row(Register.SPL, 12, 4, 0b0001);
  row(Register.AX, GPRS, 0, 0b0011);
  row(Register.EAX, GPRS, 0, HALF);
  row(Register.RAX, GPRS, 0, WHOLE);
  return table;
}

let kindOfCode: ReadonlyMap<number, OperationKind> | undefined;

function kinds(): ReadonlyMap<number, OperationKind> {
  kindOfCode ??= makeKinds();
  return kindOfCode;
}

function makeKinds(): ReadonlyMap<number, OperationKind> {
  const { Code } = iced();
  const codes: readonly (readonly [OperationKind, readonly number[]])[] = [
    ['lea', [Code.Lea_r64_m]],
    ['move', [Code.Mov_r64_rm64, Code.Mov_rm64_r64, Code.Mov_rm64_imm32]],
    ['move32', [Code.Mov_r32_rm32, Code.Mov_rm32_r32, Code.Mov_r32_imm32]],
    ['extend', [Code.Movsxd_r64_rm32]],
    ['zero', [Code.Movzx_r32_rm8, Code.Movzx_r32_rm16, Code.Movzx_r64_rm8, Code.Movzx_r64_rm16]],
    ['add', [Code.Add_r64_rm64, Code.Add_rm64_r64]],
    ['compare', [Code.Cmp_AL_imm8, Code.Cmp_AX_imm16, Code.Cmp_EAX_imm32, Code.Cmp_RAX_imm32]],
    ['compare', [Code.Cmp_rm8_imm8, Code.Cmp_rm16_imm8, Code.Cmp_rm32_imm8, Code.Cmp_rm64_imm8]],
    ['compare', [Code.Cmp_rm16_imm16, Code.Cmp_rm32_imm32, Code.Cmp_rm64_imm32]],
    ['and', [Code.And_AL_imm8, Code.And_EAX_imm32, Code.And_RAX_imm32]],
    ['and', [Code.And_rm8_imm8, Code.And_rm32_imm8, Code.And_rm64_imm8]],
    ['and', [Code.And_rm32_imm32, Code.And_rm64_imm32]],
    ['jump', [Code.Jmp_rm64]],
  ];
  const rows = codes.flatMap(([kind, list]) => list.map((code): [number, OperationKind] => [code, kind]));
  return new Map(rows);
}
