/** Functions by their FDEs, and the stubs of a PLT, which has one FDE as a whole. */
import { type EhFrame, isLeftover } from '../elf/eh-frame.ts';
import type { CodeMap } from './code-map.ts';
import { type StubReader, stubsOfLazyRelocations, tileWithStubs } from './find-plt.ts';
import { newPiece, type Piece, RangeIndex } from './pieces.ts';

export const OVERLAPPING = 'overlapping FDEs';
export const TRAMPOLINE = 'a signal trampoline';
export const OUTSIDE = 'its FDE is not about code';

export interface Functions {
  /** Ascending, not overlapping; not swept. */
  readonly pieces: readonly Piece[];
  /** FDEs that are of no use, and why. */
  readonly refused: readonly { readonly at: number | undefined; readonly reason: string }[];
}

export function findFunctions(frame: EhFrame, code: CodeMap, reader: StubReader): Functions {
  const refused: { at: number | undefined; reason: string }[] = [];
  const pieces: Piece[] = [];
  const ranges = frame.fdes
    .filter((fde) => !isLeftover(fde))
    .map((fde) => ({
      start: fde.start,
      end: fde.end,
      isTrampoline: fde.cie.signalFrame,
      padded: fde.lsda === undefined ? undefined : fde,
    }))
    .sort((a, b) => a.start - b.start || a.end - b.end);
  for (const { start, end, isTrampoline, padded } of ranges) {
    const segment = code.segmentOf(start);
    if (segment === undefined || end > segment.end) {
      // An address that is nowhere in the module is no place to name.
      refused.push({ at: segment === undefined ? undefined : start, reason: OUTSIDE });
      continue;
    }
    const last = pieces.at(-1);
    if (last !== undefined && start < last.end) {
      pieces[pieces.length - 1] = keptPiece(last.start, Math.max(last.end, end), OVERLAPPING);
      continue;
    }
    if (isTrampoline) {
      // It begins a byte before the code, so that unwinders find it for the address before a return address.
      pieces.push(keptPiece(start, end, TRAMPOLINE));
      continue;
    }
    const stubs = tileWithStubs(reader, code, start, end);
    if (stubs === undefined) pieces.push(newPiece('function', start, end, padded));
    else for (const stub of stubs) pieces.push(newPiece('plt', stub.start, stub.end));
  }
  const index = new RangeIndex(pieces);
  const stubs = stubsOfLazyRelocations(reader, code)
    .filter(({ start, end }) => index.indexOf(start) < 0 && index.nextStart(start) >= end)
    .map(({ start, end }) => newPiece('plt', start, end));
  return { pieces: [...pieces, ...stubs].sort((a, b) => a.start - b.start), refused };
}

const keptPiece = (start: number, end: number, kept: string): Piece => ({
  ...newPiece('function', start, end),
  kept,
  trusted: false,
});
