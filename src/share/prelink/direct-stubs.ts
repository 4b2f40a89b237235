/**
 * Stubs of the PLT that jump straight to the function (solution 5 of the notes on sharing).
 *
 * Problem: a stub reads its target from a table, which costs as much as the call itself.
 * Example: `jmp *0x2fca(%rip)` of libz's stub for `memchr` becomes `jmp memchr; nop`, 6 bytes for 6.
 * Method: in a copy whose references are known, a stub that jumps through a word that was written in advance leads where
 * the word does. Stubs are what stands at multiples of 8 or 16 bytes in sections that linkers give that name, in the shapes
 * that they write; all others stay, and so do those whose target is farther than 2 GiB, or 0.
 * Limits: who changes the table at run time to see calls (heap profilers do) does not see these. The table itself stays,
 * for code that calls through it without a stub.
 */
import { viewOf } from '../../elf/bytes.ts';
import type { ElfImage } from '../../elf/image.ts';
import * as spec from '../../elf/spec.ts';

export interface DirectStubs {
  readonly direct: number;
  /** Known, and too far. */
  readonly far: number;
}

const SECTIONS = /^\.plt(\.got|\.sec)?$/;
const ENTRY_ALIGN = 8;
/** endbr64 */
const ENDBR = [0xf3, 0x0f, 0x1e, 0xfa] as const;
const BND = 0xf2;
const JMP_THROUGH = [0xff, 0x25] as const;
const JMP = 0xe9;
const NOP = 0x90;
/** `jmp *disp32(%rip)` */
const JMP_SIZE = 6;

/**
 * @param bytes the copy.
 * @param words what was written in advance, by RVA of the word: the address that it leads to.
 */
export function directStubs(
  image: ElfImage,
  bytes: Uint8Array,
  base: number,
  words: Pick<ReadonlyMap<number, bigint>, 'get'>,
): DirectStubs {
  const view = viewOf(bytes);
  let direct = 0;
  let far = 0;
  for (const section of image.sections) {
    if (!SECTIONS.test(section.name) || section.type !== spec.SHT_PROGBITS) continue;
    if ((section.flags & spec.SHF_EXECINSTR) === 0) continue;
    for (let at = 0; at + ENTRY_ALIGN <= section.size; at += ENTRY_ALIGN) {
      const jump = jumpOf(bytes.subarray(section.offset + at, section.offset + section.size));
      if (jump === undefined) continue;
      const place = section.offset + at + jump.at;
      const rva = section.rva + at + jump.at;
      const word = rva + jump.size + view.getInt32(place + jump.size - 4, true);
      const target = words.get(word);
      if (target === undefined || target === 0n) continue;
      const distance = Number(target) - (base + rva + 5);
      if (distance < -(2 ** 31) || distance >= 2 ** 31) {
        far++;
        continue;
      }
      bytes.fill(NOP, place, place + jump.size);
      view.setUint8(place, JMP);
      view.setInt32(place + 1, distance, true);
      direct++;
    }
  }
  return { direct, far };
}

/** Where the jump of a stub stands in it, and its bytes with the prefix for bounds. */
function jumpOf(stub: Uint8Array): { readonly at: number; readonly size: number } | undefined {
  const starts = (bytes: readonly number[], at: number): boolean =>
    bytes.every((byte, i) => stub[at + i] === byte);
  const at = starts(ENDBR, 0) ? ENDBR.length : 0;
  const prefix = stub[at] === BND ? 1 : 0;
  const size = JMP_SIZE + prefix;
  return starts(JMP_THROUGH, at + prefix) && at + size <= stub.length ? { at, size } : undefined;
}
