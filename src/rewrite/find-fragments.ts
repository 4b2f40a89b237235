/**
 * Fragments: the code that no FDE describes, and the stubs of a PLT that none describes.
 *
 * Entries come from the module's tables and from known code; each is descended from (`descend.ts`). What is
 * reached shows more entries. Contiguous instructions become a fragment, and a new one begins where a
 * function does: at a symbol or a callee.
 */
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import type { CodeMap } from './code-map.ts';
import type { CodeRoots } from './code-roots.ts';
import { type Descent, descend, type Surroundings } from './descend.ts';
import type { StubReader } from './find-plt.ts';
import { isBranch, LINK_CALL, LINK_READ, Links, NumberList } from './links.ts';
import { fillerAt } from './padding.ts';
import { type AddressRange, newPiece, type Piece, RangeIndex } from './pieces.ts';
import { Sweeper } from './sweep.ts';

export interface Fragments {
  /** Fragments and stubs, ascending, swept. */
  readonly pieces: readonly Piece[];
  /** Of the pieces, ascending. */
  readonly links: Links;
  /** Entries from which no code could be found, and why. */
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
  readonly #known: KnownCode;
  readonly #codeSections: RangeIndex<AddressRange> | undefined;
  readonly #entries = new Set<number>();
  /** Where functions begin: fragments are divided there. */
  readonly #functions = new Set<number>();
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

  isRead(start: number, end: number): boolean {
    for (let at = start; at < end; at++) if (this.#reads.has(at)) return true;
    return this.#known.roots.data.some((data) => start < data.end && data.start < end);
  }

  mayBeCode(at: number): boolean {
    return this.#codeSections === undefined || this.#codeSections.indexOf(at) >= 0;
  }

  addKnownEntries(): void {
    const { roots, stubs, links, pieces } = this.#known;
    for (const at of [...roots.certain, ...stubs.lazyTargets]) this.#addFunction(at);
    for (let i = 0; i < links.length; i++) this.#addLink(links.target.at(i), links.kindAt(i));
    for (const piece of pieces.ranges) {
      // Most often a call that does not return is last, and padding follows.
      const { end, fallsThrough, trusted } = piece;
      if (!fallsThrough || !trusted || !this.#isFree(end)) continue;
      if (fillerAt(this.code.bytes(end, end + 16), 0) === 0) this.#addFunction(end);
    }
  }

  #isFree(at: number): boolean {
    return this.code.has(at) && !this.isInPiece(at) && this.mayBeCode(at);
  }

  #addFunction(at: number): void {
    if (!this.#isFree(at)) return;
    this.#entries.add(at);
    this.#functions.add(at);
  }

  #addLink(target: number, kind: number): void {
    if (kind === LINK_CALL) this.#addFunction(target);
    else if (kind === LINK_READ && this.#isFree(target)) this.#reads.add(target);
    else if (isBranch(kind) && this.#isFree(target)) this.#entries.add(target);
  }

  run(): void {
    // A set is walked in the order of insertion, with what is added during the walk.
    for (const at of this.#entries) {
      if (this.code.isReached(at)) continue;
      const stub = this.#known.stubs.at(at);
      if (stub !== undefined && this.nextPiece(at) >= stub.end) {
        this.#takeStub(newPiece('plt', stub.start, stub.end));
        continue;
      }
      const descent = descend(this, at);
      if (typeof descent === 'string') this.refused.push({ at, reason: descent });
      else this.#take(descent);
    }
  }

  #takeStub(piece: Piece): void {
    const links = new Links();
    new Sweeper(this.code, links).sweep(piece);
    this.code.markReached(piece.start, piece.end - piece.start);
    this.#stubs.push(piece);
    for (let i = 0; i < links.length; i++) this.#addLink(links.target.at(i), links.kindAt(i));
  }

  #take({ instructions, links }: Descent): void {
    for (const [at, length] of instructions) {
      this.#starts.push(at);
      this.#lengths.set(at, length);
      this.code.markStart(at);
      this.code.markReached(at, length);
    }
    for (const { target, kind } of links) this.#addLink(target, kind);
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

function codeSections(image: ElfImage): RangeIndex<AddressRange> | undefined {
  const sections = image.sections
    .filter(({ flags }) => (flags & spec.SHF_EXECINSTR) !== 0 && (flags & spec.SHF_ALLOC) !== 0)
    .map(({ rva, size }) => ({ start: rva, end: rva + size }))
    .sort((a, b) => a.start - b.start);
  return sections.length === 0 ? undefined : new RangeIndex(sections);
}
