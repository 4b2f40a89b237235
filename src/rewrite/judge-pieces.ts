/**
 * Which pieces must stay, by what other code and the module's tables say of them.
 *
 * A copy is verbatim: the same bytes at another address. It behaves alike unless something reaches into
 * it in a way that cannot be led elsewhere. So a piece stays where its middle is data to somebody, where a branch
 * comes into the middle of an instruction, where the loader or the program changes its bytes, and where it
 * leaves with a short branch to what cannot come along.
 */
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import type { CodeMap } from './code-map.ts';
import { type CodeRoots, codeAddressesInData, relocatedCode } from './code-roots.ts';
import { judgeFragments } from './judge-fragments.ts';
import { areJumpBases } from './jump-bases.ts';
import { LINK_ADDRESS, LINK_READ, LINK_SHORT, type Links } from './links.ts';
import { nopAt } from './padding.ts';
import { keep, type Piece, type RangeIndex } from './pieces.ts';
import { canBranchTo, DATA_INSIDE, INTO_INSTRUCTION, OWN_ADDRESS } from './sweep.ts';

export const WRITABLE = 'in a segment that the program may write';
export const RELOCATED = 'relocated when the module is loaded';
export const MIDDLE_ADDRESSED = 'its middle is addressed';
export const SHORT_BRANCH_OUT = 'a short branch to code that has no unit';
export const RETURN_TABLE = 'a table of its return addresses';

export interface Evidence {
  readonly image: ElfImage;
  readonly code: CodeMap;
  readonly roots: CodeRoots;
  readonly pieces: RangeIndex<Piece>;
  readonly links: Links;
}

/** Sets `kept` and `trusted` of pieces. */
export function judgePieces(evidence: Evidence): void {
  // What it says of others is not believed, so it comes first.
  judgeFragments(evidence);
  judgeByLinks(evidence);
  judgeByTables(evidence);
  judgeByReturnAddresses(evidence);
  judgeOwnAddresses(evidence);
}

function distrust(piece: Piece, reason: string): void {
  piece.kept = piece.trusted ? reason : (piece.kept ?? reason);
  piece.trusted = false;
}

function judgeByLinks({ code, pieces, links }: Evidence): void {
  for (let i = 0; i < links.length; i++) {
    const kind = links.kindAt(i);
    const at = links.target.at(i);
    const target = pieces.find(at);
    if (target === undefined) {
      if ((kind & LINK_SHORT) !== 0) keepSource(pieces, links, i, SHORT_BRANCH_OUT);
    } else if (kind === LINK_READ) distrust(target, DATA_INSIDE);
    else if (at === target.start) continue;
    else if (kind === LINK_ADDRESS) {
      // Assembly without FDEs takes addresses to count from them; it stays, and they lead where they led.
      if (sourceOf(pieces, links, i)?.trusted === true) judgeMiddle(code, target, at);
    } else if (!canBranchTo(code, at)) {
      // One of the two was read wrongly.
      if (target.trusted) distrustSource(pieces, links, i);
      distrust(target, INTO_INSTRUCTION);
    }
  }
}

/** Behind nops the address of a middle is one of code; else it may be data's. */
function judgeMiddle(code: CodeMap, target: Piece, at: number): void {
  if (isBehindNops(code, target.start, at)) return;
  distrust(target, code.isStart(at) ? MIDDLE_ADDRESSED : DATA_INSIDE);
}

function isBehindNops(code: CodeMap, start: number, at: number): boolean {
  const bytes = code.bytes(start, at);
  let p = 0;
  for (let nop = 1; nop > 0 && p < bytes.length; p += nop) nop = nopAt(bytes, p);
  return p === bytes.length;
}

const sourceOf = (pieces: RangeIndex<Piece>, links: Links, i: number): Piece | undefined =>
  pieces.find(links.field.at(i));

function keepSource(pieces: RangeIndex<Piece>, links: Links, i: number, reason: string): void {
  const source = sourceOf(pieces, links, i);
  if (source !== undefined) keep(source, reason);
}

function distrustSource(pieces: RangeIndex<Piece>, links: Links, i: number): void {
  const source = sourceOf(pieces, links, i);
  if (source !== undefined) distrust(source, INTO_INSTRUCTION);
}

function judgeByTables({ image, code, roots, pieces }: Evidence): void {
  for (const { start, end } of roots.data) {
    for (let i = Math.max(0, pieces.before(start)); i < pieces.ranges.length; i++) {
      const piece = pieces.ranges[i];
      if (piece === undefined || piece.start >= end) break;
      if (piece.end > start) distrust(piece, DATA_INSIDE);
    }
  }
  for (const at of roots.pointers) {
    const piece = pieces.find(at);
    if (piece !== undefined && !code.isStart(at)) distrust(piece, DATA_INSIDE);
  }
  for (const at of roots.untyped) {
    const piece = pieces.find(at);
    if (piece !== undefined && at !== piece.start) judgeMiddle(code, piece, at);
  }
  for (const at of relocatedCode(image, code)) {
    // The relocated word may begin before the piece.
    for (const byte of [at, at + 7]) {
      const piece = pieces.find(byte);
      if (piece !== undefined) distrust(piece, RELOCATED);
    }
  }
  for (const segment of code.segments) {
    if (!segment.writable) continue;
    for (const piece of pieces.ranges) {
      if (piece.start >= segment.start && piece.start < segment.end) distrust(piece, WRITABLE);
    }
  }
}

/** The sweep keeps whatever takes an address in its own middle. */
function judgeOwnAddresses({ image, code, pieces }: Evidence): void {
  for (const piece of pieces.ranges) {
    if (piece.kept !== OWN_ADDRESS || piece.kind !== 'function' || !piece.trusted) continue;
    if (areJumpBases(image, code, piece)) piece.kept = undefined;
  }
}

/**
 * Some runtimes (OCaml's) know the frames on a stack by tables of return addresses: of most calls of a
 * function. Labels whose address is taken, or in a jump table, may stand behind a call too, but few do.
 */
function judgeByReturnAddresses({ image, code, roots, pieces }: Evidence): void {
  const returns = new Map<Piece, number>();
  const words = image.header.type === spec.ET_EXEC ? codeAddressesInData(image, code) : [];
  for (const list of [roots.pointers, words]) {
    for (const at of list) {
      const piece = pieces.find(at);
      if (piece === undefined || at === piece.start || !isBehindCall(code, at)) continue;
      returns.set(piece, (returns.get(piece) ?? 0) + 1);
    }
  }
  for (const [piece, count] of returns) if (count * 2 > piece.calls) keep(piece, RETURN_TABLE);
}

/** `call rel32`, and `call` of a register or memory: ff with 2 in the middle of its ModRM byte. */
function isBehindCall(code: CodeMap, at: number): boolean {
  for (let length = 2; length <= 8; length++) {
    const start = at - length;
    if (!code.isStart(start)) continue;
    const bytes = code.bytes(start, at);
    let p = 0;
    while (p < length - 2 && (isCallPrefix(bytes[p] ?? 0) || ((bytes[p] ?? 0) & 0xf0) === 0x40)) p++;
    return bytes[p] === 0xe8 || (bytes[p] === 0xff && ((bytes[p + 1] ?? 0) & 0x38) === 0x10);
  }
  return false;
}

const isCallPrefix = (byte: number): boolean =>
  byte === 0x66 || byte === 0x67 || byte === 0x3e || byte === 0xf2;
