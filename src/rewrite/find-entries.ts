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
import { type AddressRange, type Piece, RangeIndex } from './pieces.ts';

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
  const byUnit: number[][] = clusters.map((cluster) =>
    cluster.map(({ start }) => start).filter((start) => code.isStart(start)),
  );
  for (const at of middles) byUnit[ranges.indexOf(at)]?.push(at);
  return byUnit.map((entries) => ascending(entries).map(rva));
}

function ascending(entries: readonly number[]): readonly number[] {
  return entries.length < 2 ? entries : [...new Set(entries)].sort((a, b) => a - b);
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
  for (let i = 0; i < links.length; i++) {
    const target = links.target.at(i);
    const isInside = units.indexOf(links.field.at(i)) === units.indexOf(target);
    if (links.kindAt(i) !== LINK_READ && !isInside) add(target);
  }
  return found.sorted();
}
