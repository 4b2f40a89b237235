/**
 * Instructions with their operands and registers, for the few functions whose data flow is followed: each
 * takes as long as some twenty of `decodeRange`.
 */
import type { Decoder, Instruction, InstructionInfoFactory } from 'iced-x86';
import { emptyInsn, type Insn, readInsn } from './decode.ts';
import { type Effects, effectsOf, ignoredRead, isScan } from './effects.ts';
import { iced } from './iced.ts';
import { type Gpr, NONE, type RegisterUse, slotOf, usesOf, WHOLE } from './registers.ts';

/** `[base + index * scale + displacement]`; rip-relative operands are in Insn. */
export interface MemoryOperand {
  readonly base: Gpr;
  readonly index: Gpr;
  readonly scale: number;
  readonly displacement: number;
  /** RVA of the displacement if it has 4 bytes, else -1. */
  readonly displacementAt: number;
  /** Bytes that are read or written; 0: not known. */
  readonly size: number;
}

/**
 * What addresses are computed by: `lea`; `move` (64 bits); `move32`; `extend`: movslq, cltq; `zero`: movzbl, movzwl;
 * `add` (64 bits). Each writes the register `to` from the register `source`, from `memory` or from `immediate`.
 * `compare`, `and`: the register `to` with `immediate`. `jump`: through `source` or `memory`, if it is no rip-relative
 * one. `store`: the register `source` (64 bits) to `memory`. Everything else, and operands through fs and gs, is `other`: it has `uses` alone.
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
  | 'store'
  | 'other';

export interface Operation extends Effects {
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
    const raw = this.#raw;
    this.#decoder.position = start;
    this.#decoder.decodeOut(raw);
    const insn = emptyInsn();
    if (!readInsn(this.#decoder, raw, this.#bytes, start, this.#at, insn)) return undefined;
    const { Register } = iced();
    const isSegmented = raw.segmentPrefix === Register.FS || raw.segmentPrefix === Register.GS;
    const { uses, isPlain } = usesOf(raw, this.#info, ignoredRead(raw), isScan(raw));
    const effects = effectsOf(raw, isPlain && insn.flow === 'next' && !isSegmented);
    // Padding may name registers, and does nothing with them.
    const other = { ...OTHER, ...effects, insn, uses: effects.isPadding ? [] : uses };
    if (isSegmented) return { ...other, stores: false };
    return this.#withOperands(kinds().get(raw.code) ?? 'other', other);
  }

  free(): void {
    this.#info.free();
    this.#raw.free();
    this.#decoder.free();
  }

  #withOperands(kind: OperationKind, other: Operation): Operation {
    const { Code, OpKind } = iced();
    const raw = this.#raw;
    const { insn } = other;
    if (kind === 'jump' && insn.fieldAt >= 0) return other;
    const offsets = this.#decoder.getConstantOffsets(raw);
    const { displacementOffset, displacementSize, immediateOffset, immediateSize } = offsets;
    offsets.free();
    const memory = this.#memoryOperand(
      insn,
      kind,
      displacementSize === 4 ? insn.at + displacementOffset : NONE,
    );
    const { register, parts } = raw.op0Kind === OpKind.Register ? slotOf(raw.op0Register) : NOWHERE;
    if (kind === 'jump') return { ...other, kind, memory, source: register };
    if (raw.code === Code.Cdqe) return { ...other, kind: 'extend', to: 0, source: 0, parts: WHOLE };
    if (raw.code === Code.Mov_rm64_r64 && memory !== undefined)
      return { ...other, kind: 'store', memory, source: slotOf(raw.op1Register).register };
    if (register === NONE) return { ...other, memory };
    const second = raw.op1Kind;
    const hasImmediate = second >= OpKind.Immediate8 && second <= OpKind.Immediate32to64;
    return {
      ...other,
      kind,
      to: register,
      parts,
      memory,
      source: second === OpKind.Register ? slotOf(raw.op1Register).register : NONE,
      immediate: hasImmediate ? Number(BigInt.asIntN(64, raw.immediate(1))) : undefined,
      immediateAt: hasImmediate && immediateSize === 4 ? insn.at + immediateOffset : NONE,
    };
  }

  #memoryOperand(
    insn: Readonly<Insn>,
    kind: OperationKind,
    displacementAt: number,
  ): MemoryOperand | undefined {
    const { MemorySizeExt, Mnemonic, OpKind } = iced();
    const raw = this.#raw;
    if (insn.fieldAt >= 0 || (kind === 'other' && raw.mnemonic === Mnemonic.Lea)) return undefined;
    for (let i = 0; i < raw.opCount; i++) {
      if (raw.opKind(i) !== OpKind.Memory) continue;
      return {
        base: slotOf(raw.memoryBase).register,
        index: slotOf(raw.memoryIndex).register,
        scale: raw.memoryIndexScale,
        displacement: Number(BigInt.asIntN(64, raw.memoryDisplacement)),
        displacementAt,
        size: isVector(raw) ? 0 : MemorySizeExt.size(raw.memorySize),
      };
    }
    return undefined;
  }
}

/** It reads or writes at many places: its index is a vector. */
function isVector({ memoryIndex }: Instruction): boolean {
  return memoryIndex !== iced().Register.None && slotOf(memoryIndex).register === NONE;
}

const NOWHERE = { register: NONE, parts: 0 } as const;

const OTHER = {
  kind: 'other',
  to: NONE,
  source: NONE,
  memory: undefined,
  immediate: undefined,
  immediateAt: NONE,
  parts: 0,
} as const;

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
