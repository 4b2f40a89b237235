/**
 * Which code without an FDE may move: start-up code.
 *
 * Problem: such code follows no rules. Its author may know something of its addresses that cannot be seen.
 * Examples: V8 maps a second copy of its builtins near the code that it generates, and finds them at
 * distances from the first one; what leads out of their range breaks there. V8, Go and GHC look return
 * addresses up in tables of their own. GHC reads words in front of a function whose address it holds.
 * libglvnd writes to its stubs. Assembly for nasm reaches constants at their distance from code.
 * Method: what the loader calls may move (.init, .fini, the constructors and destructors of crtbegin.o), and
 * what that branches to without calling on. All other fragments stay, and their fields lead where they led.
 * Limits: libraries with much assembly (video codecs) go on using its pages; so do those that were compiled
 * without unwind tables.
 */
import type { CodeRoots } from './code-roots.ts';
import { isBranch, type Links } from './links.ts';
import type { Piece, RangeIndex } from './pieces.ts';

export const NO_FDE = 'no unwind information';

export interface FragmentEvidence {
  readonly roots: CodeRoots;
  readonly pieces: RangeIndex<Piece>;
  readonly links: Links;
}

export function judgeFragments({ roots, pieces, links }: FragmentEvidence): void {
  const startUp = new Set<Piece>();
  for (const at of roots.loader) {
    const piece = pieces.find(at);
    if (piece?.kind === 'fragment') startUp.add(piece);
  }
  // A set is walked in the order of insertion, with what is added during the walk.
  for (const piece of startUp) {
    for (const target of branchTargets(piece, links)) {
      const next = pieces.find(target);
      if (next?.kind === 'fragment' && next.calls === 0) startUp.add(next);
    }
  }
  for (const piece of pieces.ranges) {
    if (piece.kind !== 'fragment' || startUp.has(piece)) continue;
    piece.kept ??= NO_FDE;
    piece.trusted = false;
  }
}

function* branchTargets({ start, end }: Piece, links: Links): Generator<number> {
  for (let i = links.firstFrom(start); i < links.length && links.field.at(i) < end; i++) {
    if (isBranch(links.kindAt(i))) yield links.target.at(i);
  }
}
