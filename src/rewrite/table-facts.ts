/** What the search for jump tables asks of a whole module: made when it is first needed, and kept with the image. */
import type { ElfImage } from '../elf/image.ts';
import { R_X86_64_RELATIVE } from '../elf/spec.ts';
import { findEndings, LandingPads } from './table-code.ts';

export interface ImageFacts {
  readonly pads: LandingPads;
  /** Functions that are known not to return. */
  readonly endings: () => ReadonlySet<number>;
  /** Code addresses that relocations put into data. */
  readonly labels: () => readonly number[];
}

const facts = new WeakMap<ElfImage, ImageFacts>();

export function factsOf(image: ElfImage): ImageFacts {
  const known = facts.get(image);
  if (known !== undefined) return known;
  let labels: readonly number[] | undefined;
  let endings: ReadonlySet<number> | undefined;
  const made: ImageFacts = {
    pads: new LandingPads(image),
    endings: () => (endings ??= findEndings(image)),
    labels: () =>
      (labels ??= image.relocations
        .filter(({ type }) => type === R_X86_64_RELATIVE)
        .map(({ addend }) => Number(addend))),
  };
  facts.set(image, made);
  return made;
}
