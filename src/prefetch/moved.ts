/** Pages that a program finds in another file than the one they were recorded of. */
import { pageIndex } from '../base/brands.ts';
import type { Extent } from '../profile/model.ts';
import type { MovedPages } from './model.ts';

/** The extents as they lie in the other file; what no piece has is left out. In any order, and perhaps twice. */
export function moveExtents(extents: readonly Extent[], pieces: readonly MovedPages[]): Extent[] {
  return extents.flatMap((extent) =>
    pieces.flatMap((piece) => {
      const from = Math.max(extent.page, piece.page);
      const end = Math.min(extent.page + extent.count, piece.page + piece.count);
      return from < end ? [{ page: pageIndex(piece.to + from - piece.page), count: end - from }] : [];
    }),
  );
}
