/**
 * The units of a module: which bytes are code, in parts that can move one by one.
 *
 * Problem: a function that moves must be all of it and nothing else, and everything that reaches into it
 * has to be known. ELF says little of that: symbols are stripped, and hand-written code follows no rules.
 * Example: libm.so has a fragment for _init, a stub for each imported function, a function for each FDE,
 * and a fragment for each of the four functions that crtbegin.o brings.
 * Method: FDEs give functions, and stubs of PLTs are recognised; both are decoded from start to end.
 * Descent from known entries finds code without an FDE. Then everything is judged by what the rest says
 * of it, and joined where short branches hold it together. What contradicts others stays, and is not
 * believed.
 * Limits: data among the instructions of an FDE is found by who reads it with a rip-relative operand, by
 * a symbol, a relocation or a branch that does not fit. Where nothing tells it counts as code: a copy of
 * it is as good, but if 4 bytes of it read as a branch into another unit, they would be changed.
 */
import { rva } from '../base/brands.ts';
import { readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import type { AddressBits } from './address-bits.ts';
import { type Cluster, clusterPieces } from './cluster-pieces.ts';
import { CodeMap } from './code-map.ts';
import { type CodeRoots, findCodeRoots } from './code-roots.ts';
import { findEntries } from './find-entries.ts';
import { findFragments } from './find-fragments.ts';
import { findFunctions, TRAMPOLINE } from './find-functions.ts';
import { splitUnits } from './find-parts.ts';
import { StubReader } from './find-plt.ts';
import { judgePieces } from './judge-pieces.ts';
import { Links } from './links.ts';
import type { Kept, Unit } from './model.ts';
import { type Piece, RangeIndex } from './pieces.ts';
import { Sweeper } from './sweep.ts';

export interface FoundUnits {
  readonly units: readonly Unit[];
  /** The same with uncut functions. */
  readonly wholes: readonly Unit[];
  /** Where only branches of a function's own other parts lead to. */
  readonly inner: AddressBits;
  /** What the units' code says of addresses outside of its own piece, ascending by field. */
  readonly links: Links;
  /** Branches between parts of functions that can be cut, ascending by field. */
  readonly partLinks: Links;
  /** The pieces that the units were made of. */
  readonly pieces: RangeIndex<Piece>;
  readonly kept: readonly Kept[];
  readonly roots: CodeRoots;
  readonly code: CodeMap;
}

/** @throws WinnowError where .eh_frame, symbols or relocations are damaged. */
export function findUnits(image: ElfImage): FoundUnits {
  const code = new CodeMap(image);
  const roots = findCodeRoots(image, code);
  const stubs = new StubReader(image, code);
  const functions = findFunctions(readEhFrame(image), code, stubs);
  const functionLinks = new Links();
  const partLinks = new Links();
  const sweeper = new Sweeper(image, code, functionLinks, partLinks);
  // A trampoline's first byte belongs to whatever stands in front of it.
  for (const piece of functions.pieces) if (piece.kept !== TRAMPOLINE) sweeper.sweep(piece);
  const fragments = findFragments({
    image,
    code,
    roots,
    stubs,
    pieces: new RangeIndex(functions.pieces),
    links: functionLinks,
  });
  // All code is known from here on, and in the order of addresses.
  const links = Links.merged(functionLinks, fragments.links);
  const pieces = new RangeIndex([...functions.pieces, ...fragments.pieces].sort((a, b) => a.start - b.start));
  judgePieces({ image, code, roots, pieces, links });
  const clusters = clusterPieces(code, pieces, links);
  const entries = findEntries({ code, roots, lazyTargets: stubs.lazyTargets, pieces, links, clusters });
  const wholes = clusters.map((cluster, index) => unitOf(cluster, entries[index] ?? []));
  const { units, inner } = splitUnits(code, clusters, wholes, partLinks, roots);
  const kept = [...functions.refused, ...fragments.refused].map(
    ({ at, reason }): Kept => ({ kind: 'kept', reason, ...(at === undefined ? {} : { at: rva(at) }) }),
  );
  return { units, wholes, inner, links, partLinks, pieces, kept, roots, code };
}

function unitOf(cluster: Cluster, entries: Unit['entries']): Unit {
  const [first] = cluster;
  const last = cluster.at(-1);
  if (first === undefined || last === undefined) throw new RangeError('a cluster without pieces');
  return {
    kind: cluster.length === 1 ? first.kind : 'cluster',
    start: rva(first.start),
    end: rva(last.end),
    entries,
    fallsThrough: last.fallsThrough,
    ...(first.kept === undefined ? {} : { kept: first.kept }),
  };
}
