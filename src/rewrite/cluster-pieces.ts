/**
 * Joins pieces that short branches connect.
 *
 * Problem: an 8-bit distance cannot reach from a copy to anywhere but the copy itself.
 * Example: hand-written `memcpy` ends with `jmp` of two bytes into `memmove`, whose FDE comes next: both move as one
 * unit, with what lies between.
 * Method: pieces are in the order of addresses, so a branch joins all from the lower one to the higher
 * one; ranges that overlap become one. A unit is copied and decoded from start to end, so what lies
 * between its pieces has to decode too, and end where the next piece starts; padding does.
 * Limits: one piece that must stay keeps its whole cluster.
 */
import { decodeRange } from '../x86/decode.ts';
import type { CodeMap } from './code-map.ts';
import { LINK_SHORT, type Links } from './links.ts';
import type { Piece, RangeIndex } from './pieces.ts';

export const GAP_IN_CLUSTER = 'no code between its parts';

/** Pieces that are one unit, ascending; most often one. */
export type Cluster = readonly Piece[];

export function clusterPieces(code: CodeMap, pieces: RangeIndex<Piece>, links: Links): Cluster[] {
  const lastJoined = reachOfShortBranches(pieces, links);
  const clusters: Cluster[] = [];
  for (let first = 0; first < pieces.ranges.length; ) {
    let last = first;
    for (let i = first; i <= last; i++) last = Math.max(last, lastJoined[i] ?? i);
    const cluster = pieces.ranges.slice(first, last + 1);
    if (cluster.length > 1) keepTogether(code, cluster);
    clusters.push(cluster);
    first = last + 1;
  }
  return clusters;
}

/** For each piece the index of the last one that it is joined with. */
function reachOfShortBranches(pieces: RangeIndex<Piece>, links: Links): Uint32Array {
  const reach = Uint32Array.from(pieces.ranges, (_, index) => index);
  for (let i = 0; i < links.length; i++) {
    if ((links.kindAt(i) & LINK_SHORT) === 0) continue;
    const from = pieces.indexOf(links.field.at(i));
    const to = pieces.indexOf(links.target.at(i));
    // Of a piece that is not trusted the branch may be none, and the piece stays anyway.
    if (from < 0 || to < 0 || pieces.ranges[from]?.trusted !== true) continue;
    const low = Math.min(from, to);
    reach[low] = Math.max(reach[low] ?? 0, from, to);
  }
  return reach;
}

function keepTogether(code: CodeMap, cluster: Cluster): void {
  const reason = cluster.find(({ kept }) => kept !== undefined)?.kept ?? gapProblem(code, cluster);
  if (reason === undefined) return;
  for (const piece of cluster) piece.kept ??= reason;
}

function gapProblem(code: CodeMap, cluster: Cluster): string | undefined {
  const isWhole = cluster.every(({ end }, index) => {
    const next = cluster[index + 1]?.start ?? end;
    const between = code.bytes(end, next);
    return between.length === next - end && decodeRange(between, end, () => {});
  });
  return isWhole ? undefined : GAP_IN_CLUSTER;
}
