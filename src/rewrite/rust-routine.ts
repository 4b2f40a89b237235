/**
 * Rust's personality routine in modules that no longer name it.
 *
 * Problem: a function with landing pads is cut only if it is known who reads its data area (part-pads.ts). C and C++ import their
 * routine, so its name stays. Rust's is a local function of each program and library, whose symbol strip removes:
 * of librsvg's code that can be cut otherwise, four fifths have such pads.
 * Example: librsvg's CIEs name a slot that a RELATIVE relocation fills with 0x650c50. The code there calls
 * _Unwind_GetLanguageSpecificData, _Unwind_GetIPInfo, _Unwind_GetRegionStart and _Unwind_SetIP.
 * Method: it is Rust's if three things meet. It is code of the module itself, without a name. It or what it calls asks the unwinder
 * for the data area, for the place and the function's start, and sets where to go on: what all routines do that read
 * areas as the LSB describes them. And the module holds the class of Rust's exceptions, which its standard library throws
 * and compares with: eight bytes that are in nothing else.
 * Limits: programs that hold the unwinder too import none of its functions; theirs stays unknown. C++ whose library is inside
 * of a Rust module, and whose routine has no name either, is taken for Rust's: its routine reads areas in the same way.
 */
import { type Rva, rva } from '../base/brands.ts';
import { readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import { PF_X, PT_LOAD } from '../elf/spec.ts';
import { decodeRange } from '../x86/decode.ts';

/** `MOZ\0RUST`, as a number of eight bytes stands in memory. */
const EXCEPTION_CLASS = Buffer.of(0x54, 0x53, 0x55, 0x52, 0x00, 0x5a, 0x4f, 0x4d);

/** Of each of these at least one is called. */
const ASKED: readonly (readonly string[])[] = [
  ['_Unwind_GetLanguageSpecificData'],
  ['_Unwind_GetIPInfo', '_Unwind_GetIP'],
  ['_Unwind_GetRegionStart'],
  ['_Unwind_SetIP'],
];

/** Functions that are looked at: the routine, a helper or two of its own, stubs of the PLT, and what else they call. */
const MOST_FUNCTIONS = 32;
/** Bytes of a stub up to the end of its jump, with endbr64 and bnd. */
const STUB = 11;

const known = new WeakMap<ElfImage, Map<Rva, boolean>>();

/** @param at where it stands in the module. */
export function isRustRoutine(image: ElfImage, at: Rva): boolean {
  const routines = known.get(image) ?? new Map<Rva, boolean>();
  known.set(image, routines);
  const before = routines.get(at);
  if (before !== undefined) return before;
  const isRust = throwsRust(image) && asksUnwinder(image, at);
  routines.set(at, isRust);
  return isRust;
}

function throwsRust({ bytes, segments }: ElfImage): boolean {
  return segments.some(({ type, offset, fileSize }) => {
    if (type !== PT_LOAD) return false;
    const held = Buffer.from(
      bytes.buffer,
      bytes.byteOffset + offset,
      Math.min(fileSize, bytes.length - offset),
    );
    return held.indexOf(EXCEPTION_CLASS) >= 0;
  });
}

function asksUnwinder(image: ElfImage, routine: Rva): boolean {
  const ends = new Map(readEhFrame(image).fdes.map(({ start, end }) => [start, end]));
  const slots = new Map(image.relocations.map((relocation) => [relocation.rva, relocation]));
  const called = new Set<string>();
  const open: number[] = [routine];
  const seen = new Set(open);
  for (let at = open.shift(); at !== undefined; at = open.shift()) {
    const start = rva(at);
    decodeRange(
      codeAt(image, start, ends.get(start) ?? rva(at + STUB)),
      start,
      ({ flow, target, ipTarget }) => {
        const isIndirect = flow === 'indirect-call' || flow === 'indirect-jump';
        const slot = isIndirect && ipTarget >= 0 ? slots.get(rva(ipTarget)) : undefined;
        const name = slot === undefined ? undefined : image.symbols[slot.symbol]?.name;
        if (name !== undefined) called.add(name);
        if ((flow !== 'call' && flow !== 'jump') || target < 0 || seen.size >= MOST_FUNCTIONS) return;
        if (!seen.has(target)) open.push(target);
        seen.add(target);
      },
    );
  }
  return ASKED.every((names) => names.some((name) => called.has(name)));
}

/** None where there is no executable code. */
function codeAt(image: ElfImage, start: Rva, end: Rva): Uint8Array {
  const segment = image.segmentOf(start);
  const offset = image.offsetOf(start);
  if (segment === undefined || offset === undefined || (segment.flags & PF_X) === 0) return new Uint8Array();
  return image.bytes.subarray(offset, Math.min(offset + end - start, segment.offset + segment.fileSize));
}
