/**
 * What each start adds to an image whose addresses slide.
 *
 * Problem. A placed image has one set of addresses. Whoever has seen one process of it knows where modules lie in all others,
 * which the kernel's random addresses (ASLR) are there to prevent.
 *
 * Example. The word at 0x3d80 of `libfoo.so` points to offset 0x5000 of the program. It is placed with the program at the lowest address that
 * it may have. A start that puts the program 0x9e_3102_0000 further up adds as much to that word.
 *
 * Method. Which words hold addresses is known from the runs of the loader, in each of which everything lay elsewhere
 * (snapshot/compare.ts): `LinkedState.pointers`. Here they become a table, a bit for each word of each page, apart for words
 * into the program and into all else, since these slide by amounts of their own. Encoded words (hash tables, mangled pointers, thread-local
 * storage) need no care: what does not differ between the runs as an address does has another cause or refuses the image. Words that are not
 * aligned or go over the end of a page are fix-ups. Words into the vDSO are fix-ups in any image.
 *
 * Limits. Libraries and the loader slide together; their distances are those of the image, as the kernel's are those of one boot's
 * loader. A program of fixed addresses does not slide. Pages with addresses are no longer shared.
 */
import { PAGE_SIZE, userAddress } from '../../base/brands.ts';
import type { PlacedFixUp, PlacedSlide, SlidInto, SlidPage } from '../linked/linked-model.ts';
import { SLID_WORDS_SIZE } from '../linked/linked-slide.ts';
import { ANCHORS, type LinkedState, type Pointers } from '../model.ts';
import { type Bases, slideRanges } from './addresses.ts';

const WORD = 8;
const WORDS_OF_PAGE = PAGE_SIZE / WORD;

/** By `ANCHORS`; undefined: every start writes such words anew. */
const INTO: readonly (SlidInto | undefined)[] = ANCHORS.map((anchor) =>
  anchor === 'vdso' ? undefined : anchor === 'program' ? 'program' : 'rest',
);

export interface Slid {
  readonly slide: PlacedSlide;
  /** Words that have no bit. */
  readonly odd: readonly PlacedFixUp[];
}

export function slideOf(state: Pick<LinkedState, 'pointers' | 'extents' | 'machine'>, bases: Bases): Slid {
  const { program, rest } = slideRanges(state, bases);
  // Where the program has one place, nothing is to be added to what points into it.
  const isFixed = program.places === 1;
  const words = new Words();
  const odd: PlacedFixUp[] = [];
  for (const table of state.pointers) {
    for (let i = 0; i < table.at.length; i += 1) {
      const into = INTO[table.into[i] ?? -1];
      if (into === undefined || (into === 'program' && isFixed)) continue;
      const at = bases[table.standsIn] + (table.at[i] ?? 0);
      if (at % WORD === 0) words.add(at, into);
      else
        odd.push({ at: userAddress(at), size: 8, kind: into === 'program' ? 'slid-program' : 'slid-rest' });
    }
  }
  return { slide: { program, rest, pagesIn: false, pages: words.pages() }, odd };
}

/** One word of each page that a start writes. */
export function slidPages({
  standsIn,
  at,
  into,
}: Pointers): { readonly anchor: Pointers['standsIn']; readonly offset: number }[] {
  const pages = new Set<number>();
  for (let i = 0; i < at.length; i += 1) {
    if (INTO[into[i] ?? -1] === undefined) continue;
    const offset = at[i] ?? 0;
    pages.add(Math.floor(offset / PAGE_SIZE));
    pages.add(Math.floor((offset + WORD - 1) / PAGE_SIZE));
  }
  return [...pages].map((page) => ({ anchor: standsIn, offset: page * PAGE_SIZE }));
}

class Words {
  readonly #pages = { program: new Map<number, Buffer>(), rest: new Map<number, Buffer>() };

  add(at: number, into: SlidInto): void {
    const page = Math.floor(at / PAGE_SIZE);
    const its = this.#pages[into];
    let words = its.get(page);
    if (words === undefined) {
      words = Buffer.alloc(SLID_WORDS_SIZE);
      its.set(page, words);
    }
    const word = (at / WORD) % WORDS_OF_PAGE;
    words[word >> 3] = (words[word >> 3] ?? 0) | (1 << (word & 7));
  }

  pages(): SlidPage[] {
    return (['program', 'rest'] as const)
      .flatMap((into) =>
        [...this.#pages[into]].map(([page, words]) => ({ at: userAddress(page * PAGE_SIZE), into, words })),
      )
      .sort((a, b) => a.at - b.at || (a.into < b.into ? -1 : 1));
  }
}
