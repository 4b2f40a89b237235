/**
 * Joins pieces that short branches connect.
 *
 * Problem: an 8-bit distance cannot reach from a copy to anywhere but the copy itself.
 * Example: hand-written `memcpy` ends with `jmp` of two bytes into `memmove`, whose FDE comes next: both move as one
 * unit, with what lies between.
 * Method: pieces are in the order of addresses, so a branch joins all from the lower one to the higher
 * one; ranges that overlap become one. A unit is copied and decoded from start to end, so what lies
 * between its pieces has to be padding that decodes, and ends where the next piece starts.
 * Limits: one piece that must stay keeps its whole cluster.
 */
import { decodeRange } from '../x86/decode.ts';
import type { CodeMap } from './code-map.ts';
import { LINK_SHORT, type Links } from './links.ts';
import { isFiller } from './padding.ts';
import { keep, type Piece, RangeIndex } from './pieces.ts';

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
  keepUsedGaps(pieces, links, clusters);
  return clusters;
}

/** What somebody reads or branches to is no padding, and was not proved to be code. */
function keepUsedGaps(pieces: RangeIndex<Piece>, links: Links, clusters: readonly Cluster[]): void {
  const joined = new RangeIndex(
    clusters
      .filter(({ length }) => length > 1)
      .map((cluster) => ({ start: cluster[0]?.start ?? 0, end: cluster.at(-1)?.end ?? 0, cluster })),
  );
  if (joined.ranges.length === 0) return;
  for (let i = 0; i < links.length; i++) {
    const target = links.target.at(i);
    const found = joined.find(target);
    if (found === undefined || pieces.indexOf(target) >= 0) continue;
    for (const piece of found.cluster) keep(piece, GAP_IN_CLUSTER);
  }
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
  for (const piece of cluster) keep(piece, reason);
}

function gapProblem(code: CodeMap, cluster: Cluster): string | undefined {
  // Zeros are padding too, and read as instructions of two bytes.
  const isWhole = cluster.every(({ end }, index) => {
    const next = cluster[index + 1]?.start ?? end;
    const between = code.bytes(end, next);
    return between.length === next - end && isFiller(between) && decodeRange(between, end, () => {});
  });
  return isWhole ? undefined : GAP_IN_CLUSTER;
}
