/**
 * Decodes a piece of code from its start to its end, and collects its links.
 *
 * What makes a verbatim copy behave otherwise is found here, as far as the piece itself shows it: data
 * among the instructions, and code that computes with its own address.
 */

import type { ElfImage } from '../elf/image.ts';
import { decodeRange, type Flow, type Insn } from '../x86/decode.ts';
import type { CodeMap } from './code-map.ts';
import { findParts, pushCrossing } from './find-parts.ts';

import {
  LINK_ADDRESS,
  LINK_CALL,
  LINK_CONDITIONAL,
  LINK_JUMP,
  LINK_READ,
  LINK_SHORT,
  Links,
  NumberList,
} from './links.ts';
import type { Piece } from './pieces.ts';
import { findUnseenWays, type UnseenWays } from './unseen-ways.ts';

export const NOT_DECODED = 'does not decode as instructions';
export const DATA_INSIDE = 'data inside the code';
export const INTO_INSTRUCTION = 'a branch into the middle of an instruction';
export const OWN_ADDRESS = 'computes with its own address';
export const OUT_OF_CODE = 'a branch to what is no code';
export const RESTARTABLE = 'a restartable sequence';

/** The signature that the kernel checks before it aborts a restartable sequence: RSEQ_SIG. */
const RSEQ_SIGNATURE = 0x53053053;

export class Sweeper {
  readonly #image: ElfImage;
  readonly #code: CodeMap;
  readonly #links: Links;
  readonly #partLinks: Links;
  /** Branches within the piece, and targets of calls among them. */
  readonly #inner = new Links();
  readonly #innerCalls = new NumberList();
  /** Where instructions end that control does not run past. */
  readonly #stops = new NumberList();
  #start = 0;
  #end = 0;
  #flow: Flow = 'next';
  #kept: string | undefined;
  #hasData = false;
  /** Something may lead to its middle that nothing tells. */
  #isWhole = false;
  #mayUseTable = false;
  #calls = 0;

  /** @param partLinks gets the branches between the parts of functions that can be cut. */
  constructor(image: ElfImage, code: CodeMap, links: Links, partLinks: Links = new Links()) {
    this.#image = image;
    this.#code = code;
    this.#links = links;
    this.#partLinks = partLinks;
  }

  /** Marks the piece's instructions, appends its links, and says in the piece what is wrong with it. */
  sweep(piece: Piece): void {
    const before = this.#links.length;
    this.#start = piece.start;
    this.#end = piece.end;
    this.#flow = 'next';
    this.#kept = undefined;
    this.#hasData = false;
    this.#isWhole = piece.kind !== 'function';
    this.#mayUseTable = false;
    this.#calls = 0;
    this.#inner.cut(0);
    this.#innerCalls.cut(0);
    this.#stops.cut(0);
    const decoded = decodeRange(this.#code.bytes(piece.start, piece.end), piece.start, this.#visit);
    // A stub ends with a jump; nops behind it are never reached.
    piece.fallsThrough = piece.kind !== 'plt' && fallsThrough(this.#flow);
    piece.calls = this.#calls;
    const distrust = this.#whyDistrusted(decoded);
    piece.kept ??= distrust ?? this.#kept ?? this.#whyOwnAddress();
    if (distrust !== undefined) piece.trusted = false;
    if (piece.trusted) {
      if (piece.kept === undefined && !this.#isWhole) this.#cut(piece);
      return;
    }
    this.#links.cut(before);
    this.#code.clearStarts(piece.start + 1, piece.end);
  }

  #cut(piece: Piece): void {
    const ways = (): UnseenWays | undefined => findUnseenWays(this.#image, piece, this.#mayUseTable);
    const { parts, aside } = findParts(piece, this.#code, this.#stops.values, this.#inner, ways);
    piece.parts = parts;
    piece.aside = aside;
    if (parts.length > 0) pushCrossing(piece, this.#inner, this.#partLinks);
  }

  #whyDistrusted(decoded: boolean): string | undefined {
    if (!decoded) return NOT_DECODED;
    if (this.#hasData) return DATA_INSIDE;
    const inner = this.#inner;
    for (let i = 0; i < inner.length; i++) {
      if (!canBranchTo(this.#code, inner.target.at(i))) return INTO_INSTRUCTION;
    }
    return undefined;
  }

  #whyOwnAddress(): string | undefined {
    const calls = this.#innerCalls;
    for (let i = 0; i < calls.length; i++)
      if (takesReturnAddress(this.#code, calls.at(i))) return OWN_ADDRESS;
    return undefined;
  }

  readonly #visit = (insn: Insn): void => {
    const { at, length, flow, target, branchSize } = insn;
    this.#code.markStart(at);
    this.#flow = flow;
    if (flow === 'call' || flow === 'indirect-call') this.#calls++;
    else if (!fallsThrough(flow)) this.#stops.push(at + length);
    if (flow === 'indirect-jump' && mayUseTable(this.#code.bytes(at, at + length))) this.#mayUseTable = true;
    if (branchSize !== 0) {
      if (target >= this.#start && target < this.#end) {
        this.#inner.push(at + length - branchSize, target, branchSize, linkKind(flow, branchSize));
        if (flow === 'call') this.#innerCalls.push(target);
        return;
      }
      if (!this.#code.has(target)) {
        // A call of 0 is what a linker makes of one of an undefined weak function.
        if (target !== 0) this.#kept ??= OUT_OF_CODE;
        return;
      }
      this.#links.push(at + length - branchSize, target, branchSize, linkKind(flow, branchSize));
      return;
    }
    if (insn.fieldAt >= 0) this.#operand(insn);
  };

  #operand({ at, length, flow, ipTarget, fieldAt }: Insn): void {
    if (flow === 'stop') {
      // ud1 has an operand that is never read.
      if (ipTarget === at + length + RSEQ_SIGNATURE) this.#kept ??= RESTARTABLE;
      return;
    }
    // Most operands lead to data.
    if (ipTarget < 0 || !this.#code.has(ipTarget)) return;
    const isAddress = isLea(this.#code.bytes(at, at + length));
    if (ipTarget >= this.#start && ipTarget < this.#end) {
      this.#isWhole = true;
      if (!isAddress) this.#hasData = true;
      else if (ipTarget !== this.#start || at === this.#start) this.#kept ??= OWN_ADDRESS;
      return;
    }
    this.#links.push(fieldAt, ipTarget, at + length - fieldAt, isAddress ? LINK_ADDRESS : LINK_READ);
  }
}

const linkKind = (flow: Flow, branchSize: number): number =>
  branchKind(flow) | (branchSize === 1 ? LINK_SHORT : 0);

export const branchKind = (flow: Flow): number =>
  flow === 'call' ? LINK_CALL : flow === 'jump' ? LINK_JUMP : LINK_CONDITIONAL;

/** Whether control can run past an instruction of this kind. A call may well never return: nobody can tell. */
export const fallsThrough = (flow: Flow): boolean =>
  flow !== 'jump' && flow !== 'indirect-jump' && flow !== 'return' && flow !== 'stop';

const LOCK = 0xf0;

/**
 * Whether a branch may lead there: to an instruction's start, or past its lock prefix, which code for one
 * thread leaves out.
 */
export const canBranchTo = (code: CodeMap, at: number): boolean =>
  code.isStart(at) || (code.byteAt(at - 1) === LOCK && code.isStart(at - 1));

/** Whether an instruction with a rip-relative operand is lea: 8d behind prefixes that begin no other map. */
export function isLea(bytes: Uint8Array): boolean {
  let p = 0;
  while (bytes[p] === 0x66 || bytes[p] === 0x2e || bytes[p] === 0x3e) p++;
  if (((bytes[p] ?? 0) & 0xf0) === 0x40) p++;
  return bytes[p] === 0x8d;
}

/**
 * Whether an indirect jump may go through a table of the function's own: by a register, or by memory that an index
 * chooses. `jmp *8(%rax)` and `jmp *f@GOTPCREL(%rip)` are calls of other functions. (Labels whose addresses stand in
 * memory are known by their relocations.)
 */
export function mayUseTable(jump: Uint8Array): boolean {
  const opcode = jump.indexOf(0xff);
  const modrm = jump[opcode + 1] ?? 0;
  if (opcode < 0 || modrm >>> 6 === 3) return true;
  if ((modrm & 7) !== 4) return false;
  const rex = opcode === 0 ? 0 : (jump[opcode - 1] ?? 0);
  const hasIndexBit = (rex & 0xf2) === 0x42;
  return hasIndexBit || ((jump[opcode + 2] ?? 0) & 0x38) !== 0x20;
}

/**
 * Whether what is called here begins with taking its return address: `pop REG` or `mov (%rsp), REG`.
 * Then the caller's address becomes a number, to which code adds distances to anywhere.
 */
export function takesReturnAddress(code: CodeMap, at: number): boolean {
  const bytes = code.bytes(at, at + 4);
  const [first = 0, second = 0, third = 0, fourth = 0] = bytes;
  if ((first & 0xf8) === 0x58) return true;
  if (first === 0x41 && (second & 0xf8) === 0x58) return true;
  return (first & 0xfb) === 0x48 && second === 0x8b && (third & 0xc7) === 0x04 && fourth === 0x24;
}
