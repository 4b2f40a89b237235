/**
 * Where control can come into each unit from outside: its start, the starts of its pieces, and whatever
 * branches, addresses, symbols and relocations lead to in its middle.
 *
 * The recorder writes breakpoints there, so an entry is the start of an instruction or it is none. Of a
 * unit whose bytes are doubtful only the start counts.
 */
import { type Rva, rva } from '../base/brands.ts';
import type { Cluster } from './cluster-pieces.ts';
import type { CodeMap } from './code-map.ts';
import type { CodeRoots } from './code-roots.ts';
import { LINK_READ, type Links, NumberList } from './links.ts';
import { type AddressRange, type Piece, RangeCursor, RangeIndex } from './pieces.ts';

export interface EntrySources {
  readonly code: CodeMap;
  readonly roots: CodeRoots;
  readonly lazyTargets: readonly number[];
  readonly pieces: RangeIndex<Piece>;
  readonly links: Links;
  readonly clusters: readonly Cluster[];
}

/** For each cluster its entries, ascending. */
export function findEntries(sources: EntrySources): readonly (readonly Rva[])[] {
  const { code, clusters } = sources;
  const ranges = new RangeIndex(
    clusters.map((cluster) => ({ start: cluster[0]?.start ?? 0, end: cluster.at(-1)?.end ?? 0 })),
  );
  const middles = middleEntries(sources, ranges);
  const byUnit: Rva[][] = [];
  for (const cluster of clusters) {
    const entries: Rva[] = [];
    for (const { start } of cluster) if (code.isStart(start)) entries.push(rva(start));
    byUnit.push(entries);
  }
  const unitOf = new RangeCursor(ranges);
  const unordered = new Set<Rva[]>();
  for (const at of middles) {
    const entries = byUnit[unitOf.indexOf(at)];
    if (entries === undefined) continue;
    // A cluster's other pieces stand before it.
    if (at < (entries.at(-1) ?? 0)) unordered.add(entries);
    entries.push(rva(at));
  }
  for (const entries of unordered) entries.sort((a, b) => a - b);
  return byUnit;
}

function middleEntries(sources: EntrySources, units: RangeIndex<AddressRange>): Uint32Array {
  const { code, roots, lazyTargets, pieces, links } = sources;
  const found = new NumberList();
  const add = (at: number): void => {
    const piece = pieces.find(at);
    if (piece?.trusted === true && at !== piece.start && code.isStart(at)) found.push(at);
  };
  for (const list of [roots.certain, roots.pointers, lazyTargets]) for (const at of list) add(at);
  // Of code that is not believed too: control may come from there, and an instruction is an instruction.
  const unitOfField = new RangeCursor(units);
  for (let i = 0; i < links.length; i++) {
    if (links.kindAt(i) === LINK_READ) continue;
    const target = links.target.at(i);
    // Most targets are starts of functions, which are entries anyway.
    const piece = pieces.find(target);
    if (piece?.trusted !== true || target === piece.start || !code.isStart(target)) continue;
    if (unitOfField.indexOf(links.field.at(i)) !== units.indexOf(target)) found.push(target);
  }
  return found.sorted();
}
