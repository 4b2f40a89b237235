/**
 * Which code without an FDE may move.
 *
 * Problem: such code follows no rules. Its author may know something of its addresses that nobody else can see.
 * Examples: the interpreters of V8, Go and GHC walk the stack and look return addresses up in tables of their
 * own. GHC reads the words in front of a function whose address it holds. libglvnd and V8 find the n-th of a row of
 * functions at a multiple of their size, or at a distance that a table tells, from the address of the first.
 * Method: code that calls stays, as return addresses show where it is; what the loader calls may move, for
 * start-up code is known. Code whose address is taken moves only if its neighbours do not look like parts of the
 * same thing: in front padding or the end of known code, behind a function with an FDE, or one whose address is
 * taken as well.
 * Limits: a row of functions whose addresses are all taken looks like single ones.
 */
import type { CodeMap } from './code-map.ts';
import type { CodeRoots } from './code-roots.ts';
import { LINK_ADDRESS, type Links } from './links.ts';
import { isFiller, nopAt } from './padding.ts';
import { keep, type Piece, type RangeIndex } from './pieces.ts';

export const CALLS_UNSEEN = 'calls, and cannot be unwound';
export const IN_A_ROW = 'may be addressed as one of a row';

export interface FragmentEvidence {
  readonly code: CodeMap;
  readonly roots: CodeRoots;
  readonly pieces: RangeIndex<Piece>;
  readonly links: Links;
}

export function judgeFragments({ code, roots, pieces, links }: FragmentEvidence): void {
  const loader = new Set(roots.loader);
  const taken = takenAddresses(roots, pieces, links);
  for (const [i, piece] of pieces.ranges.entries()) {
    if (piece.kind !== 'fragment' || loader.has(piece.start)) continue;
    if (piece.calls > 0) keep(piece, CALLS_UNSEEN);
    else if (taken.has(piece.start) && !standsAlone(code, pieces.ranges, i, taken)) keep(piece, IN_A_ROW);
  }
}

function takenAddresses(roots: CodeRoots, pieces: RangeIndex<Piece>, links: Links): ReadonlySet<number> {
  const taken = new Set(roots.pointers);
  for (let i = 0; i < links.length; i++) {
    if (links.kindAt(i) !== LINK_ADDRESS) continue;
    const target = links.target.at(i);
    if (pieces.find(target)?.kind === 'fragment') taken.add(target);
  }
  return taken;
}

function standsAlone(
  code: CodeMap,
  pieces: readonly Piece[],
  index: number,
  taken: ReadonlySet<number>,
): boolean {
  const piece = pieces[index];
  if (piece === undefined) return false;
  const before = pieces[index - 1];
  const isSeparate = before?.end === piece.start || endsWithNop(code.bytes(piece.start - 15, piece.start));
  const after = pieces[index + 1];
  if (!isSeparate || after === undefined) return false;
  const between = code.bytes(piece.end, after.start);
  return isFiller(between) && (after.kind !== 'fragment' || taken.has(after.start));
}

/** Zeros do not count: data ends with them too. */
function endsWithNop(bytes: Uint8Array): boolean {
  if (bytes.at(-1) === 0xcc) return true;
  return bytes.some((_, at) => nopAt(bytes, at) === bytes.length - at);
}
