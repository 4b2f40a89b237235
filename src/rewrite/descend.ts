/**
 * Recursive descent: which bytes without an FDE are code.
 *
 * Problem: start-up code and hand-written assembly have no FDE, data may stand between, and what is taken
 * for code by mistake would be changed, or get a breakpoint, and then be read by the program as data.
 * Example: `frame_dummy: jmp register_tm_clones`. The first is in .init_array; the jump proves the second.
 * Method: from an entry, follow control until it ends or comes to code that is known. All that one entry
 * reaches is taken, or nothing. An entry that is certain (called by the loader, a function symbol, the
 * target of a branch in known code) need only decode; callees are entries of their own. An entry that is
 * only pointed to (`lea`, relocated words) might be data, so it has to look like code in every respect: no instruction
 * that programs do not use, every branch to known code or into itself, callees alike, operands in the module's memory, and behind each
 * end of control something that compilers and assemblers put there: more code, a known address, padding.
 * Limits: what is reached through a jump table alone is not found. Code behind a call is taken to be reached.
 */
import { decodeRange, type Insn } from '../x86/decode.ts';
import type { CodeMap } from './code-map.ts';
import { LINK_ADDRESS, LINK_CALL, LINK_READ, LINK_SHORT } from './links.ts';
import { fillerAt } from './padding.ts';
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
  /** The piece (function or stub) that holds an address. */
  isInPiece(at: number): boolean;
  /** Where the next piece starts. */
  nextPiece(at: number): number;
  /** Something that points here, or a symbol. */
  isKnownAddress(at: number): boolean;
  /** Known code reads a range's bytes as data. */
  isRead(start: number, end: number): boolean;
  /** Whether the module has memory there. */
  isInMemory(at: number): boolean;
  /** Where code may stand: section headers, where there are any, tell the executable sections. */
  mayBeCode(at: number): boolean;
}

interface Reached {
  readonly length: number;
  /** Nothing but filling or the start of something else should follow. */
  readonly isLast: boolean;
}

interface PendingLink {
  readonly field: number;
  readonly target: number;
  readonly tail: number;
  readonly kind: number;
}

/** What one entry reaches. */
export interface Descent {
  /** By address. */
  readonly instructions: ReadonlyMap<number, Reached>;
  /** Calls of code without an FDE are not followed where the entry is certain: these are entries to go on with. */
  readonly links: readonly PendingLink[];
}

/** How far a block is decoded at a time. */
const WINDOW = 128;

const LONGEST_INSTRUCTION = 15;

export type Proof = 'certain' | 'pointed';

/** What an entry reaches, or why none of it is taken for code. */
export function descend(around: Surroundings, entry: number, proof: Proof): Descent | string {
  const walk = new Walk(around, proof);
  const problem = walk.run(entry);
  return problem ?? walk;
}

class Walk implements Descent {
  readonly instructions = new Map<number, Reached>();
  readonly links: PendingLink[] = [];
  readonly #around: Surroundings;
  readonly #strict: boolean;
  readonly #blocks: number[] = [];
  #problem: string | undefined;
  #at = 0;
  #goesOn = true;

  constructor(around: Surroundings, proof: Proof) {
    this.#around = around;
    this.#strict = proof === 'pointed';
  }

  run(entry: number): string | undefined {
    this.#blocks.push(entry);
    for (let block = this.#blocks.pop(); block !== undefined; block = this.#blocks.pop()) {
      if (!this.#isKnown(block)) this.#block(block);
      if (this.#problem !== undefined) return this.#problem;
    }
    return this.#overlap() ?? (this.#strict ? this.#unlikely() : undefined);
  }

  #isKnown(at: number): boolean {
    return this.instructions.has(at) || this.#around.isInPiece(at) || this.#around.code.isReached(at);
  }

  #block(start: number): void {
    const { code } = this.#around;
    this.#at = start;
    this.#goesOn = true;
    while (this.#goesOn && this.#problem === undefined) {
      const from = this.#at;
      if (this.#isKnown(from)) return;
      const limit = this.#around.nextPiece(from);
      const bytes = code.bytes(from, Math.min(from + WINDOW, limit));
      const decoded = decodeRange(bytes, from, this.#visit);
      if (!this.#goesOn || this.#problem !== undefined) return;
      // The window's end may cut an instruction; elsewhere it is the bytes that are wrong.
      const cut = !decoded && from + bytes.length - this.#at < LONGEST_INSTRUCTION && bytes.length === WINDOW;
      if ((!decoded && !cut) || this.#at === from) this.#problem = NOT_DECODED;
    }
  }

  readonly #visit = (insn: Insn): void => {
    if (!this.#goesOn || this.#problem !== undefined) return;
    const { at, length, flow, target, branchSize } = insn;
    if (this.#isKnown(at)) {
      this.#goesOn = false;
      return;
    }
    this.#at = at + length;
    const endsControl = flow === 'jump' || flow === 'indirect-jump' || flow === 'return' || flow === 'stop';
    const isTrap = length === 1 && this.#around.code.byteAt(at) === 0xcc;
    this.#goesOn = !endsControl && !isTrap;
    // Behind a jump through a table stand the places that it leads to.
    this.instructions.set(at, { length, isLast: !this.#goesOn && flow !== 'indirect-jump' });
    if (this.#strict && isUnusual(this.#around.code.bytes(at, at + length))) this.#problem = NOT_DECODED;
    if (branchSize !== 0) this.#branch(at + length - branchSize, target, branchSize, branchKind(flow));
    else if (insn.fieldAt >= 0) this.#operand(insn);
  };

  #branch(field: number, target: number, size: number, kind: number): void {
    const { code } = this.#around;
    this.links.push({ field, target, tail: size, kind: kind | (size === 1 ? LINK_SHORT : 0) });
    if (!code.has(target) || !this.#around.mayBeCode(target)) {
      this.#problem = INTO_INSTRUCTION;
    } else if (this.#around.isInPiece(target) || code.isReached(target)) {
      if (!code.isStart(target)) this.#problem = INTO_INSTRUCTION;
    } else if (kind === LINK_CALL && !this.#strict) {
      // Behind such a call stands data: the callee takes its address and goes on elsewhere.
      if (takesReturnAddress(code, target)) this.#goesOn = false;
    } else this.#blocks.push(target);
  }

  #operand({ at, length, flow, ipTarget, fieldAt }: Insn): void {
    const { code } = this.#around;
    if (this.#strict && !this.#around.isInMemory(ipTarget)) this.#problem = NOT_DECODED;
    if (flow === 'stop' || !code.has(ipTarget)) return;
    const kind = isLea(code.bytes(at, at + length)) ? LINK_ADDRESS : LINK_READ;
    this.links.push({ field: fieldAt, target: ipTarget, tail: at + length - fieldAt, kind });
  }

  /** Instructions that share bytes, with each other or with what was reached before; bytes that are data. */
  #overlap(): string | undefined {
    const { code } = this.#around;
    const ascending = [...this.instructions.entries()].sort((a, b) => a[0] - b[0]);
    let end = 0;
    for (const [at, { length }] of ascending) {
      if (at < end) return INTO_INSTRUCTION;
      end = at + length;
      for (let i = at; i < end; i++) if (code.isReached(i)) return INTO_INSTRUCTION;
      if (this.#around.isRead(at, end)) return DATA_INSIDE;
    }
    for (const { target, kind } of this.links) {
      if (kind === LINK_READ && this.#holds(target)) return DATA_INSIDE;
    }
    return undefined;
  }

  #holds(at: number): boolean {
    for (let i = 0; i < LONGEST_INSTRUCTION; i++) {
      const found = this.instructions.get(at - i);
      if (found !== undefined) return i < found.length;
    }
    return false;
  }

  /** Where control ends something has to follow that is put between functions. */
  #unlikely(): string | undefined {
    for (const [at, { length, isLast }] of this.instructions) {
      if (isLast && !this.#mayFollow(at + length)) return NOT_DECODED;
    }
    return undefined;
  }

  #mayFollow(at: number): boolean {
    const { code } = this.#around;
    if (this.#isKnown(at) || this.#around.isKnownAddress(at) || !this.#around.mayBeCode(at)) return true;
    return fillerAt(code.bytes(at, at + LONGEST_INSTRUCTION), 0) > 0;
  }
}

/**
 * Instructions that are legal and that programs do not use, or hardly: a sign of data. One-byte opcodes: input and output, far
 * branches, interrupts other than int3 and system calls, flags of the kernel, `add %al, (%rax)` (zeros).
 */
function isUnusual(bytes: Uint8Array): boolean {
  let p = 0;
  while (bytes[p] === 0x66 || bytes[p] === 0xf2 || bytes[p] === 0xf3 || ((bytes[p] ?? 0) & 0xf0) === 0x40)
    p++;
  const opcode = bytes[p] ?? 0;
  if (opcode === 0x00 && bytes[p + 1] === 0x00) return true;
  return UNUSUAL.has(opcode);
}

const UNUSUAL: ReadonlySet<number> = new Set([
  ...[0x6c, 0x6d, 0x6e, 0x6f, 0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef],
  ...[0x8c, 0x8e, 0xc8, 0xca, 0xcb, 0xcd, 0xcf, 0xd7, 0xe0, 0xe1, 0xe2],
  ...[0xf1, 0xf4, 0xf5, 0xfa, 0xfb],
]);
