/** What the search for jump tables asks of a whole module: made when it is first needed, and kept with the image. */
import { rva } from '../base/brands.ts';
import { readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import { PF_X, R_X86_64_RELATIVE } from '../elf/spec.ts';
import { findEndings, LandingPads } from './table-code.ts';

export interface ImageFacts {
  readonly pads: LandingPads;
  /** Functions that are known not to return. */
  readonly endings: () => ReadonlySet<number>;
  /** Code addresses that relocations put into data, other than functions' starts. */
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
    labels: () => (labels ??= findLabels(image)),
  };
  facts.set(image, made);
  return made;
}

function findLabels(image: ElfImage): readonly number[] {
  const starts = new Set<number>(readEhFrame(image).fdes.map(({ start }) => start));
  const addends = image.relocations.flatMap(({ type, addend }) =>
    type === R_X86_64_RELATIVE ? [Number(addend)] : [],
  );
  return addends.filter((at) => {
    if (at <= 0 || !Number.isSafeInteger(at) || starts.has(at)) return false;
    return ((image.segmentOf(rva(at))?.flags ?? 0) & PF_X) !== 0;
  });
}
