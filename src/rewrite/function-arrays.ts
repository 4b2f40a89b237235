/** The arrays of functions that the loader calls at start and end. */
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { fileBytesAt } from '../elf/memory.ts';
import * as spec from '../elf/spec.ts';
import type { AddressRange } from './pieces.ts';

/** In the order in which they are called. */
const ARRAYS = [
  [spec.DT_PREINIT_ARRAY, spec.DT_PREINIT_ARRAYSZ],
  [spec.DT_INIT_ARRAY, spec.DT_INIT_ARRAYSZ],
  [spec.DT_FINI_ARRAY, spec.DT_FINI_ARRAYSZ],
] as const;

const ARRAY_SECTIONS: readonly number[] = [spec.SHT_PREINIT_ARRAY, spec.SHT_INIT_ARRAY, spec.SHT_FINI_ARRAY];

/** Where they stand; their words are addresses, or are made addresses by relocations. */
export function functionArrays(image: ElfImage): readonly AddressRange[] {
  const ranges: AddressRange[] = [];
  for (const [at, size] of ARRAYS) {
    const start = image.dynamic.value(at);
    if (start !== undefined) ranges.push({ start, end: start + (image.dynamic.value(size) ?? 0) });
  }
  if (ranges.length > 0) return ranges;
  // A static program has no dynamic section; its start-up code knows the arrays' ends.
  return image.sections
    .filter(({ type, flags }) => ARRAY_SECTIONS.includes(type) && (flags & spec.SHF_ALLOC) !== 0)
    .map((section) => ({ start: section.rva, end: section.rva + section.size }));
}

/** The words of the arrays in the file that may be addresses below 4 GiB, in their order. */
export function wordsOfArrays(image: ElfImage): readonly number[] {
  return functionArrays(image).flatMap((range) => wordsIn(image, range));
}

function wordsIn(image: ElfImage, { start, end }: AddressRange): number[] {
  const found: number[] = [];
  const view = Number.isSafeInteger(start) ? fileBytesAt(image, rva(start)) : undefined;
  if (view === undefined) return found;
  const size = Math.min(end - start, view.byteLength);
  for (let at = 0; at + 8 <= size; at += 8) {
    const word = view.getBigUint64(at, true);
    if (word > 0n && word <= 0xffff_ffffn) found.push(Number(word));
  }
  return found;
}
