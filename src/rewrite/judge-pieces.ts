/**
 * Which pieces must stay, by what other code and the module's tables say of them.
 *
 * A copy is verbatim: the same bytes at another address. It behaves alike unless something reaches into
 * it in a way that cannot be led elsewhere. So a piece stays where its middle is data to somebody, where a branch
 * comes into the middle of an instruction, where the loader or the program changes its bytes, and where it
 * leaves with a short branch to what cannot come along.
 */
import type { ElfImage } from '../elf/image.ts';
import type { CodeMap } from './code-map.ts';
import { type CodeRoots, relocatedCode } from './code-roots.ts';
import { areJumpBases } from './jump-bases.ts';
import { LINK_ADDRESS, LINK_READ, LINK_SHORT, type Links } from './links.ts';
import { nopAt } from './padding.ts';
import type { Piece, RangeIndex } from './pieces.ts';
import { canBranchTo, DATA_INSIDE, INTO_INSTRUCTION, OWN_ADDRESS } from './sweep.ts';

export const WRITABLE = 'in a segment that the program may write';
export const RELOCATED = 'relocated when the module is loaded';
export const MIDDLE_ADDRESSED = 'its middle is addressed';
export const SHORT_BRANCH_OUT = 'a short branch to code that has no unit';
export const CODE_ADDRESS = 'hand-written code that takes addresses of code';
export const STUB_TABLE = 'a table of stubs';

/** What makes tables of stubs page-aligned: the program changes their protection, or maps them again. */
const PAGE = 4096;
/** More padding between two stubs makes them no table. */
const STUB_DISTANCE = 64;

export interface Evidence {
  readonly image: ElfImage;
  readonly code: CodeMap;
  readonly roots: CodeRoots;
  readonly pieces: RangeIndex<Piece>;
  readonly links: Links;
}

/** Sets `kept` and `trusted` of pieces. */
export function judgePieces(evidence: Evidence): void {
  judgeByLinks(evidence);
  judgeByTables(evidence);
  judgeOwnAddresses(evidence);
}

function keep(piece: Piece, reason: string): void {
  piece.kept ??= reason;
}

function distrust(piece: Piece, reason: string): void {
  piece.kept = piece.trusted ? reason : (piece.kept ?? reason);
  piece.trusted = false;
}

function judgeByLinks(evidence: Evidence): void {
  const { pieces, links } = evidence;
  for (let i = 0; i < links.length; i++) {
    const kind = links.kindAt(i);
    const at = links.target.at(i);
    const target = pieces.find(at);
    if (kind === LINK_ADDRESS) judgeAddress(evidence, i, target);
    else if (target === undefined) {
      if ((kind & LINK_SHORT) !== 0) keepSource(pieces, links, i, SHORT_BRANCH_OUT);
    } else if (kind === LINK_READ) distrust(target, DATA_INSIDE);
    else if (at !== target.start && !canBranchTo(evidence.code, at)) {
      // One of the two was read wrongly.
      if (target.trusted) distrustSource(pieces, links, i);
      distrust(target, INTO_INSTRUCTION);
    }
  }
}

function judgeAddress({ code, pieces, links }: Evidence, i: number, target: Piece | undefined): void {
  // Assembly has `lea base, [$$]` and then reaches constants at their distance from the code.
  const source = sourceOf(pieces, links, i);
  if (source?.kind === 'fragment') keep(source, CODE_ADDRESS);
  else if (target !== undefined) {
    const at = links.target.at(i);
    if (at !== target.start) judgeMiddle(code, target, at);
    else if (target.kind === 'fragment' && at % PAGE === 0) keepStubs(pieces, at);
  }
}

/** Stubs of one size are also addressed by their number: libffi's and libglvnd's stand on pages of their own. */
function keepStubs(pieces: RangeIndex<Piece>, first: number): void {
  let end = first;
  for (let i = pieces.indexOf(first); ; i++) {
    const piece = pieces.ranges[i];
    if (piece?.kind !== 'fragment' || piece.start - end > STUB_DISTANCE) return;
    keep(piece, STUB_TABLE);
    end = piece.end;
  }
}

/** Behind nops, as that of glibc's signal trampoline, the address of a middle is one of code; else it may be data's. */
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
  for (const at of roots.data) {
    const piece = pieces.find(at);
    if (piece !== undefined) distrust(piece, DATA_INSIDE);
  }
  for (const at of roots.pointers) {
    const piece = pieces.find(at);
    if (piece !== undefined && !code.isStart(at)) distrust(piece, DATA_INSIDE);
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
