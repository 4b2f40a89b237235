/** Branches and addresses in the original code that lead to a copied unit: from now on to its copy. */
import { viewOf } from '../elf/bytes.ts';
import type { ElfImage } from '../elf/image.ts';
import { PF_X, PT_LOAD } from '../elf/spec.ts';
import type { PlacedClones } from './lay-out.ts';
import { type CodeReferences, REFERENCE_BRANCH } from './model.ts';

/**
 * Patches the fields in place; returns how many.
 *
 * @param bytes a file that begins as the original does.
 */
export function patchReferences(
  image: ElfImage,
  { field, target, tail, kind }: CodeReferences,
  clones: PlacedClones,
  bytes: Uint8Array,
): number {
  const view = viewOf(bytes);
  let patched = 0;
  let row = 0;
  // Fields ascend, and so do segments: no search for each field's place in the file.
  for (const segment of image.segments) {
    if (segment.type !== PT_LOAD || (segment.flags & PF_X) === 0) continue;
    const distance = segment.offset - segment.rva;
    const end = segment.rva + segment.fileSize;
    while (row < field.length && (field[row] ?? 0) < segment.rva) row++;
    for (; row < field.length && (field[row] ?? 0) < end; row++) {
      const to = target[row] ?? 0;
      const copy = kind[row] === REFERENCE_BRANCH ? clones.find(to) : clones.findAddress(to);
      if (copy < 0) continue;
      const at = field[row] ?? 0;
      view.setInt32(at + distance, copy - (at + (tail[row] ?? 0)), true);
      patched++;
    }
  }
  return patched;
}
