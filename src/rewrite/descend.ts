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
import { decodeRange, type Insn } from '../x86/decode.ts';
import type { CodeMap } from './code-map.ts';
import { LINK_ADDRESS, LINK_CALL, LINK_READ, LINK_SHORT } from './links.ts';
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
  /** A piece (function or stub) holds the address. */
  isInPiece(at: number): boolean;
  /** Where the next piece starts. */
  nextPiece(at: number): number;
  /** Known code reads a range's bytes as data. */
  isRead(start: number, end: number): boolean;
  /** Where code may stand: section headers, where there are any, tell the executable sections. */
  mayBeCode(at: number): boolean;
}

export interface FoundLink {
  readonly target: number;
  /** LINK_… */
  readonly kind: number;
}

/** What one entry reaches. */
export interface Descent {
  /** Lengths by address. */
  readonly instructions: ReadonlyMap<number, number>;
  /** Calls of code without an FDE are not followed: they are entries to go on with. */
  readonly links: readonly FoundLink[];
}

/** How far a block is decoded at a time. */
const WINDOW = 128;

const LONGEST_INSTRUCTION = 15;

/** What an entry reaches, or why none of it is taken for code. */
export function descend(around: Surroundings, entry: number): Descent | string {
  const walk = new Walk(around);
  return walk.run(entry) ?? walk;
}

class Walk implements Descent {
  readonly instructions = new Map<number, number>();
  readonly links: FoundLink[] = [];
  readonly #around: Surroundings;
  readonly #blocks: number[] = [];
  #problem: string | undefined;
  #at = 0;
  #goesOn = true;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  run(entry: number): string | undefined {
    this.#blocks.push(entry);
    for (let block = this.#blocks.pop(); block !== undefined; block = this.#blocks.pop()) {
      if (!this.#isKnown(block)) this.#block(block);
      if (this.#problem !== undefined) return this.#problem;
    }
    return this.#overlap();
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
      const bytes = code.bytes(from, Math.min(from + WINDOW, this.#around.nextPiece(from)));
      const decoded = decodeRange(bytes, from, this.#visit);
      if (!this.#goesOn || this.#problem !== undefined) return;
      // The window's end may cut an instruction; elsewhere it is the bytes that are wrong.
      const isCut = bytes.length === WINDOW && from + WINDOW - this.#at < LONGEST_INSTRUCTION;
      if ((!decoded && !isCut) || this.#at === from) this.#problem = NOT_DECODED;
    }
  }

  readonly #visit = (insn: Insn): void => {
    if (!this.#goesOn || this.#problem !== undefined) return;
    const { at, length, flow, target, branchSize, ipTarget } = insn;
    const { code } = this.#around;
    if (this.#isKnown(at)) {
      this.#goesOn = false;
      return;
    }
    this.#at = at + length;
    this.instructions.set(at, length);
    const isTrap = length === 1 && code.byteAt(at) === INT3;
    this.#goesOn =
      flow === 'next' ? !isTrap : flow === 'conditional' || flow === 'call' || flow === 'indirect-call';
    if (branchSize !== 0) this.#branch(target, branchKind(flow), branchSize === 1);
    else if (flow !== 'stop' && code.has(ipTarget)) {
      const isAddress = isLea(code.bytes(at, at + length));
      this.links.push({ target: ipTarget, kind: isAddress ? LINK_ADDRESS : LINK_READ });
    }
  };

  #branch(target: number, kind: number, isShort: boolean): void {
    const { code } = this.#around;
    this.links.push({ target, kind: kind | (isShort ? LINK_SHORT : 0) });
    if (!code.has(target) || !this.#around.mayBeCode(target)) {
      this.#problem = INTO_INSTRUCTION;
    } else if (this.#around.isInPiece(target) || code.isReached(target)) {
      if (!code.isStart(target)) this.#problem = INTO_INSTRUCTION;
    } else if (kind !== LINK_CALL) this.#blocks.push(target);
    // Behind such a call stands data: the callee takes its address and goes on elsewhere.
    else if (takesReturnAddress(code, target)) this.#goesOn = false;
  }

  /** Instructions that share bytes, with each other or with what was reached before; bytes that are data. */
  #overlap(): string | undefined {
    const { code } = this.#around;
    const ascending = [...this.instructions].sort((a, b) => a[0] - b[0]);
    let end = 0;
    for (const [at, length] of ascending) {
      if (at < end) return INTO_INSTRUCTION;
      end = at + length;
      for (let i = at; i < end; i++) if (code.isReached(i)) return INTO_INSTRUCTION;
      if (this.#around.isRead(at, end)) return DATA_INSIDE;
    }
    const isOwnData = this.links.some(({ target, kind }) => kind === LINK_READ && this.#holds(target));
    return isOwnData ? DATA_INSIDE : undefined;
  }

  #holds(at: number): boolean {
    for (let i = 0; i < LONGEST_INSTRUCTION; i++) {
      const length = this.instructions.get(at - i);
      if (length !== undefined) return i < length;
    }
    return false;
  }
}

const INT3 = 0xcc;
