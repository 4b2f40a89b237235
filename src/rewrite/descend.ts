/**
 * Recursive descent: which bytes without an FDE are code.
 *
 * Problem: start-up code and hand-written assembly have no FDE, and data may stand between.
 * Example: `frame_dummy: jmp register_tm_clones`. The first is in .init_array; the jump proves the second.
 * Method: from an entry that is certain (called by the loader, a function symbol, the target of a branch in
 * known code), follow control until it ends or comes to code that is known. All that one entry reaches is
 * taken, or nothing: bytes that do not decode, that are data to somebody, or that two instructions share, show that
 * something was taken for code by mistake. Callees are entries of their own.
 * Limits: what is reached through a jump table alone is not found. Code behind a call is taken to be reached.
 */
import { decodeRange, ENOUGH, type Insn } from '../x86/decode.ts';
import { AddressBits } from './address-bits.ts';
import type { CodeMap } from './code-map.ts';
import { InstructionList } from './instruction-list.ts';
import { LINK_ADDRESS, LINK_CALL, LINK_READ, LINK_SHORT, NumberList } from './links.ts';
import {
  branchKind,
  DATA_INSIDE,
  INTO_INSTRUCTION,
  isLea,
  NOT_DECODED,
  takesReturnAddress,
} from './sweep.ts';

/** What is known of addresses beside the descent. */
export interface Surroundings {
  readonly code: CodeMap;
  /** The bytes of instructions that descents from other entries have reached. */
  readonly reached: AddressBits;
  /** Bytes that known code reads, or that a symbol says are data. */
  readonly data: AddressBits;
  /** A piece (function or stub) holds the address. */
  isInPiece(at: number): boolean;
  /** Where the next piece starts. */
  nextPiece(at: number): number;
  /** Where code may stand: section headers, where there are any, tell the executable sections. */
  mayBeCode(at: number): boolean;
}

/** What an entry reaches; to be read before the next descent. */
export interface Descent {
  /** Ascending. */
  readonly instructions: InstructionList;
  /**
   * What its instructions lead to, in the order of the walk: targets, and LINK_… of each. Calls of code without an FDE
   * are not followed: they are entries to go on with.
   */
  readonly targets: NumberList;
  readonly kinds: NumberList;
}

/** How far a block is decoded at a time. */
const WINDOW = 128;

const LONGEST_INSTRUCTION = 15;

export class Descender implements Descent {
  readonly instructions = new InstructionList();
  readonly targets = new NumberList();
  readonly kinds = new NumberList();
  readonly #around: Surroundings;
  /** Where instructions of this descent begin. */
  readonly #own: AddressBits;
  readonly #blocks: number[] = [];
  #problem: string | undefined;
  #at = 0;
  #goesOn = true;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#own = new AddressBits(around.code.segments);
  }

  /** What an entry reaches, or why none of it is taken for code. */
  descend(entry: number): Descent | string {
    this.instructions.cut(0);
    this.targets.cut(0);
    this.kinds.cut(0);
    this.#blocks.splice(0, this.#blocks.length, entry);
    this.#problem = undefined;
    try {
      return this.#walk() ?? this.#overlap() ?? this;
    } finally {
      for (let i = 0; i < this.instructions.length; i++) this.#own.clear(this.instructions.at(i));
    }
  }

  #walk(): string | undefined {
    for (let block = this.#blocks.pop(); block !== undefined; block = this.#blocks.pop()) {
      this.#block(block);
      if (this.#problem !== undefined) return this.#problem;
    }
    return undefined;
  }

  #isMet(at: number): boolean {
    return this.#own.has(at) || this.#around.reached.has(at);
  }

  #block(start: number): void {
    const { code } = this.#around;
    this.#at = start;
    this.#goesOn = true;
    while (this.#goesOn && this.#problem === undefined) {
      const from = this.#at;
      if (this.#isMet(from) || this.#around.isInPiece(from)) return;
      const bytes = code.bytes(from, Math.min(from + WINDOW, this.#around.nextPiece(from)));
      const decoded = decodeRange(bytes, from, this.#visit);
      if (!this.#goesOn || this.#problem !== undefined) return;
      // The window's end may cut an instruction; elsewhere it is the bytes that are wrong.
      const isCut = bytes.length === WINDOW && from + WINDOW - this.#at < LONGEST_INSTRUCTION;
      if ((!decoded && !isCut) || this.#at === from) this.#problem = NOT_DECODED;
    }
  }

  readonly #visit = (insn: Insn): unknown => {
    const { at, length, flow, target, branchSize, ipTarget } = insn;
    const { code } = this.#around;
    if (this.#isMet(at)) {
      this.#goesOn = false;
      return ENOUGH;
    }
    this.#at = at + length;
    this.#own.set(at);
    this.instructions.push(at, length);
    const isTrap = length === 1 && code.byteAt(at) === INT3;
    this.#goesOn =
      flow === 'next' ? !isTrap : flow === 'conditional' || flow === 'call' || flow === 'indirect-call';
    if (branchSize !== 0) this.#branch(target, branchKind(flow), branchSize === 1);
    else if (flow !== 'stop' && code.has(ipTarget)) {
      const isAddress = isLea(code.bytes(at, at + length));
      this.#link(ipTarget, isAddress ? LINK_ADDRESS : LINK_READ);
    }
    return this.#goesOn && this.#problem === undefined ? undefined : ENOUGH;
  };

  #link(target: number, kind: number): void {
    this.targets.push(target);
    this.kinds.push(kind);
  }

  #branch(target: number, kind: number, isShort: boolean): void {
    const { code, reached } = this.#around;
    if (!code.has(target) || !this.#around.mayBeCode(target)) {
      this.#problem = INTO_INSTRUCTION;
      return;
    }
    this.#link(target, kind | (isShort ? LINK_SHORT : 0));
    if (reached.has(target) || this.#around.isInPiece(target)) {
      if (!code.isStart(target)) this.#problem = INTO_INSTRUCTION;
    } else if (kind !== LINK_CALL) this.#blocks.push(target);
    // Behind such a call stands data: the callee takes its address and goes on elsewhere.
    else if (takesReturnAddress(code, target)) this.#goesOn = false;
  }

  /** Instructions that share bytes, with each other or with what was reached before; bytes that are data. */
  #overlap(): string | undefined {
    const { reached, data } = this.#around;
    const { instructions, targets, kinds } = this;
    instructions.sort();
    let end = 0;
    for (let i = 0; i < instructions.length; i++) {
      const at = instructions.at(i);
      if (at < end) return INTO_INSTRUCTION;
      end = at + instructions.lengthAt(i);
      for (let byte = at; byte < end; byte++) if (reached.has(byte)) return INTO_INSTRUCTION;
      for (let byte = at; byte < end; byte++) if (data.has(byte)) return DATA_INSIDE;
    }
    for (let i = 0; i < targets.length; i++) {
      if (kinds.at(i) === LINK_READ && instructions.holds(targets.at(i))) return DATA_INSIDE;
    }
    return undefined;
  }
}

const INT3 = 0xcc;
