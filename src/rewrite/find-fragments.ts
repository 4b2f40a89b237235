/**
 * Fragments: the code that no FDE describes, and the stubs of a PLT that none describes.
 *
 * Entries come from the module's tables and from known code; each is descended from (`descend.ts`). What is
 * reached shows more entries. Contiguous instructions become a fragment, and a new one begins where a
 * function does: at a symbol, a callee, an address that is pointed to.
 */
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import type { CodeMap } from './code-map.ts';
import type { CodeRoots } from './code-roots.ts';
import { type Descent, descend, type Surroundings } from './descend.ts';
import type { StubReader } from './find-plt.ts';
import { LINK_ADDRESS, LINK_CALL, LINK_READ, Links, NumberList } from './links.ts';
import { fillerAt } from './padding.ts';
import { newPiece, type Piece, RangeIndex } from './pieces.ts';
import { Sweeper } from './sweep.ts';

export interface Fragments {
  /** Fragments and stubs, ascending, swept. */
  readonly pieces: readonly Piece[];
  /** Of the pieces, ascending. */
  readonly links: Links;
  /** Certain entries from which no code could be found, and why. */
  readonly refused: readonly { readonly at: number; readonly reason: string }[];
}

export interface KnownCode {
  readonly image: ElfImage;
  readonly code: CodeMap;
  readonly roots: CodeRoots;
  readonly stubs: StubReader;
  /** Functions and stubs, swept. */
  readonly pieces: RangeIndex<Piece>;
  /** Of those pieces. */
  readonly links: Links;
}

export function findFragments(known: KnownCode): Fragments {
  const search = new Search(known);
  search.addKnownEntries();
  search.run();
  const pieces = search.pieces();
  const links = new Links();
  const sweeper = new Sweeper(known.code, links);
  for (const piece of pieces) sweeper.sweep(piece);
  return { pieces, links, refused: search.refused };
}

class Search implements Surroundings {
  readonly code: CodeMap;
  readonly refused: { at: number; reason: string }[] = [];
  readonly #links = new Links();
  readonly #known: KnownCode;
  readonly #codeSections: RangeIndex<{ start: number; end: number }> | undefined;
  readonly #certain = new Set<number>();
  readonly #pointed = new Set<number>();
  /** Where functions begin: fragments are divided there. */
  readonly #functions = new Set<number>();
  readonly #addresses = new Set<number>();
  readonly #reads = new Set<number>();
  readonly #stubs: Piece[] = [];
  readonly #starts = new NumberList();
  readonly #lengths = new Map<number, number>();

  constructor(known: KnownCode) {
    this.#known = known;
    this.code = known.code;
    this.#codeSections = codeSections(known.image);
  }

  isInPiece(at: number): boolean {
    return this.#known.pieces.indexOf(at) >= 0;
  }

  nextPiece(at: number): number {
    return this.#known.pieces.nextStart(at);
  }

  isKnownAddress(at: number): boolean {
    return this.#addresses.has(at);
  }

  isRead(start: number, end: number): boolean {
    for (let at = start; at < end; at++) if (this.#reads.has(at)) return true;
    return this.#known.roots.data.some((data) => start < data.end && data.start < end);
  }

  isInMemory(at: number): boolean {
    return at >= 0 && this.#known.image.segmentOf(rva(at)) !== undefined;
  }

  mayBeCode(at: number): boolean {
    return this.#codeSections === undefined || this.#codeSections.indexOf(at) >= 0;
  }

  addKnownEntries(): void {
    const { roots, stubs, links, pieces } = this.#known;
    for (const at of [...roots.certain, ...stubs.lazyTargets]) this.#addEntry(at, this.#certain);
    for (const at of roots.pointers) this.#addEntry(at, this.#pointed);
    for (let i = 0; i < links.length; i++) this.#addLink(links.target.at(i), links.kindAt(i));
    for (const piece of pieces.ranges) {
      const { end, fallsThrough, trusted } = piece;
      if (!fallsThrough || !trusted || !this.#isFree(end)) continue;
      // Most often a call that does not return is last, and padding follows.
      if (fillerAt(this.code.bytes(end, end + 16), 0) === 0) this.#addEntry(end, this.#pointed);
    }
  }

  #isFree(at: number): boolean {
    return this.code.has(at) && !this.isInPiece(at) && this.mayBeCode(at);
  }

  #addEntry(at: number, entries: Set<number>): void {
    if (!this.#isFree(at)) return;
    entries.add(at);
    this.#addresses.add(at);
    this.#functions.add(at);
  }

  #addLink(target: number, kind: number): void {
    if (kind === LINK_READ) {
      if (this.#isFree(target)) this.#reads.add(target);
    } else if (kind === LINK_ADDRESS) this.#addEntry(target, this.#pointed);
    else if (kind === LINK_CALL) this.#addEntry(target, this.#certain);
    else if (this.#isFree(target)) this.#certain.add(target);
  }

  run(): void {
    this.#descendFromAll(this.#certain, 'certain');
    // What looked unlikely may be likely when its neighbours are known.
    for (let before = -1; before !== this.#starts.length; ) {
      before = this.#starts.length;
      this.#descendFromAll(this.#pointed, 'pointed');
      this.#descendFromAll(this.#certain, 'certain');
    }
    for (const [at, reason] of this.#failed) this.refused.push({ at, reason });
  }

  readonly #failed = new Map<number, string>();

  /** Sets are walked in the order of insertion, additions during the walk included. */
  #descendFromAll(entries: Set<number>, proof: 'certain' | 'pointed'): void {
    for (const at of entries) {
      if (this.code.isReached(at)) {
        entries.delete(at);
        continue;
      }
      const stub = this.#known.stubs.at(at);
      if (stub !== undefined && this.nextPiece(at) >= stub.end) {
        this.#addStub(newPiece('plt', stub.start, stub.end));
        continue;
      }
      const descent = descend(this, at, proof);
      if (typeof descent !== 'string') this.#take(descent);
      else if (proof === 'certain') {
        this.#failed.set(at, descent);
        entries.delete(at);
      }
    }
  }

  #addStub(piece: Piece): void {
    const before = this.#links.length;
    new Sweeper(this.code, this.#links).sweep(piece);
    this.code.markReached(piece.start, piece.end - piece.start);
    this.#stubs.push(piece);
    this.#addLinksFrom(before);
  }

  #take(descent: Descent): void {
    for (const [at, { length }] of descent.instructions) {
      this.#starts.push(at);
      this.#lengths.set(at, length);
      this.code.markStart(at);
      this.code.markReached(at, length);
    }
    const before = this.#links.length;
    for (const { field, target, tail, kind } of descent.links) this.#links.push(field, target, tail, kind);
    this.#addLinksFrom(before);
  }

  #addLinksFrom(first: number): void {
    for (let i = first; i < this.#links.length; i++)
      this.#addLink(this.#links.target.at(i), this.#links.kindAt(i));
  }

  /** Contiguous instructions, divided where functions begin. */
  pieces(): Piece[] {
    const found = [...this.#stubs];
    let start = -1;
    let end = -1;
    const finish = (): void => {
      if (start >= 0) found.push(newPiece('fragment', start, end));
    };
    for (const at of this.#starts.sorted()) {
      if (at !== end || this.#functions.has(at)) {
        finish();
        start = at;
      }
      end = at + (this.#lengths.get(at) ?? 0);
    }
    finish();
    return found.sort((a, b) => a.start - b.start);
  }
}

function codeSections(image: ElfImage): RangeIndex<{ start: number; end: number }> | undefined {
  const sections = image.sections
    .filter(({ flags }) => (flags & spec.SHF_EXECINSTR) !== 0 && (flags & spec.SHF_ALLOC) !== 0)
    .map(({ rva, size }) => ({ start: rva, end: rva + size }))
    .sort((a, b) => a.start - b.start);
  return sections.length === 0 ? undefined : new RangeIndex(sections);
}
