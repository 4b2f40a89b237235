/**
 * Libraries that are bound lazily stay so.
 *
 * Problem: the loader binds a function at its first call, and until then nobody minds that nothing defines it, and nobody
 * has asked its resolver (IFUNC). The stub of the PLT says by a number which record of JMPREL is its own; where records
 * before it were applied and taken out, the number is wrong.
 * Example: record 17 is the fourth that is left: `push $17` of its stub becomes `push $3`.
 * Method: a slot that is not bound leads to its stub's push.
 * Limits: a library whose stubs look otherwise stays as it is.
 */
import type { Rva } from '../../base/brands.ts';
import { rva } from '../../base/brands.ts';
import { viewOf } from '../../elf/bytes.ts';
import type { ElfImage } from '../../elf/image.ts';
import type { Relocation } from '../../elf/relocations.ts';
import * as spec from '../../elf/spec.ts';

const ENDBR64 = 0xfa1e0ff3;
/** push with 32 bits */
const PUSH = 0x68;
const PUSH_SIZE = 5;

/** Whether all of it is bound before it runs, by its own wish. */
export function bindsAtStart({ dynamic }: ElfImage): boolean {
  const flags = dynamic.value(spec.DT_FLAGS) ?? 0;
  const flags1 = dynamic.value(spec.DT_FLAGS_1) ?? 0;
  return (
    dynamic.value(spec.DT_BIND_NOW) !== undefined ||
    (flags & spec.DF_BIND_NOW) !== 0 ||
    (flags1 & spec.DF_1_NOW) !== 0
  );
}

/** Whether each lazy slot leads to a stub that says its number. */
export function stubsAreKnown(image: ElfImage): boolean {
  if (bindsAtStart(image)) return true;
  const view = viewOf(image.bytes);
  return image.dynamicRelocations
    .filter(({ name }) => name === 'DT_JMPREL')
    .every(({ relocations }) =>
      relocations.every(
        (relocation, index) =>
          relocation.type !== spec.R_X86_64_JUMP_SLOT || pushOf(image, view, relocation, index) !== undefined,
      ),
    );
}

/**
 * Tells a stub its new number, where it is bound lazily.
 * @param view of the copy, whose slot is as it was.
 */
export function renumberStub(
  image: ElfImage,
  view: DataView,
  relocation: Relocation,
  { from, to }: { readonly from: number; readonly to: number },
): void {
  if (relocation.type !== spec.R_X86_64_JUMP_SLOT || bindsAtStart(image)) return;
  const at = pushOf(image, viewOf(image.bytes), relocation, from);
  if (at !== undefined) view.setUint32(at + 1, to, true);
}

/** Where in the file the push of `index` stands. */
function pushOf(
  image: ElfImage,
  view: DataView,
  { rva: slot }: Relocation,
  index: number,
): number | undefined {
  const slotAt = codeAt(image, slot, 8);
  if (slotAt === undefined) return undefined;
  const start = codeAt(image, rva(Number(view.getBigUint64(slotAt, true))), PUSH_SIZE + 4);
  if (start === undefined) return undefined;
  const at = view.getUint32(start, true) === ENDBR64 ? start + 4 : start;
  return view.getUint8(at) === PUSH && view.getUint32(at + 1, true) === index ? at : undefined;
}

/** The offset of `size` bytes of a segment; undefined where they are not in the file. */
function codeAt({ segments }: ElfImage, at: Rva, size: number): number | undefined {
  const segment = segments.find(
    ({ type, rva: start, fileSize }) => type === spec.PT_LOAD && at >= start && at + size <= start + fileSize,
  );
  return segment === undefined ? undefined : segment.offset + (at - segment.rva);
}
