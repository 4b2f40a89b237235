/**
 * Fragments: the code that no FDE describes, and the stubs of a PLT that none describes.
 *
 * Entries come from the module's tables and from known code; each is descended from (`descend.ts`). What is
 * reached shows more entries. Contiguous instructions become a fragment, and a new one begins where a
 * function does: at a symbol or a callee.
 */
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { AddressBits } from './address-bits.ts';
import type { CodeMap } from './code-map.ts';
import type { CodeRoots } from './code-roots.ts';
import { Descender, type Descent, type Surroundings } from './descend.ts';
import type { StubReader } from './find-plt.ts';
import { InstructionList } from './instruction-list.ts';
import { isBranch, LINK_CALL, LINK_READ, Links } from './links.ts';
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
  const sweeper = new Sweeper(known.image, known.code, links);
  for (const piece of pieces) sweeper.sweep(piece);
  return { pieces, links, refused: search.refused };
}

class Search implements Surroundings {
  readonly code: CodeMap;
  readonly reached: AddressBits;
  readonly data: AddressBits;
  readonly refused: { at: number; reason: string }[] = [];
  readonly #known: KnownCode;
  readonly #codeSections: RangeIndex<AddressRange> | undefined;
  readonly #entries = new Set<number>();
  /** Where functions begin: fragments are divided there. */
  readonly #functions: AddressBits;
  readonly #stubs: Piece[] = [];
  readonly #instructions = new InstructionList();

  constructor(known: KnownCode) {
    this.#known = known;
    this.code = known.code;
    this.reached = new AddressBits(known.code.segments);
    this.data = new AddressBits(known.code.segments);
    this.#functions = new AddressBits(known.code.segments);
    this.#codeSections = codeSections(known.image);
  }

  isInPiece(at: number): boolean {
    return this.#known.pieces.indexOf(at) >= 0;
  }

  nextPiece(at: number): number {
    return this.#known.pieces.nextStart(at);
  }

  mayBeCode(at: number): boolean {
    return this.#codeSections === undefined || this.#codeSections.indexOf(at) >= 0;
  }

  addKnownEntries(): void {
    const { roots, stubs, links, pieces } = this.#known;
    let done = 0;
    for (const { start, end } of roots.data.toSorted((a, b) => a.start - b.start)) {
      // Symbols may overlap without measure.
      this.data.setRange(Math.max(start, done), end);
      done = Math.max(done, end);
    }
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
    this.#functions.set(at);
  }

  #addLink(target: number, kind: number): void {
    if (kind === LINK_CALL) this.#addFunction(target);
    else if (kind === LINK_READ && this.#isFree(target)) this.data.set(target);
    else if (isBranch(kind) && this.#isFree(target)) this.#entries.add(target);
  }

  run(): void {
    const descender = new Descender(this);
    // A set is walked in the order of insertion, with what is added during the walk.
    for (const at of this.#entries) {
      if (this.reached.has(at)) continue;
      const stub = this.#known.stubs.at(at);
      if (stub !== undefined && this.nextPiece(at) >= stub.end) {
        this.#takeStub(newPiece('plt', stub.start, stub.end));
        continue;
      }
      const descent = descender.descend(at);
      if (typeof descent === 'string') this.refused.push({ at, reason: descent });
      else this.#take(descent);
    }
  }

  #takeStub(piece: Piece): void {
    const links = new Links();
    new Sweeper(this.#known.image, this.code, links).sweep(piece);
    this.reached.setRange(piece.start, piece.end);
    this.#stubs.push(piece);
    for (let i = 0; i < links.length; i++) this.#addLink(links.target.at(i), links.kindAt(i));
  }

  #take({ instructions, targets, kinds }: Descent): void {
    for (let i = 0; i < instructions.length; i++) {
      const at = instructions.at(i);
      const length = instructions.lengthAt(i);
      this.#instructions.push(at, length);
      this.code.markStart(at);
      this.reached.setRange(at, at + length);
    }
    for (let i = 0; i < targets.length; i++) this.#addLink(targets.at(i), kinds.at(i));
  }

  /** Contiguous instructions, divided where functions begin. */
  pieces(): Piece[] {
    const found = [...this.#stubs];
    let start = -1;
    let end = -1;
    const finish = (): void => {
      if (start >= 0) found.push(newPiece('fragment', start, end));
    };
    const instructions = this.#instructions;
    instructions.sort();
    for (let i = 0; i < instructions.length; i++) {
      const at = instructions.at(i);
      if (at !== end || this.#functions.has(at)) {
        finish();
        start = at;
      }
      end = at + instructions.lengthAt(i);
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
