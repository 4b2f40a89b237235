/**
 * Landing pads: where control goes on in a function when something that it called throws.
 *
 * The language-specific data area of an FDE begins with a table of call sites: ranges of code and the pad
 * of each (LSB: exception handling; GCC's and LLVM's compilers write the same for C++, Rust, Ada and others).
 */
import { type Rva, rva } from '../base/brands.ts';
import { DW_EH_PE_indirect, DW_EH_PE_omit, DwarfReader } from './dwarf.ts';
import type { Fde } from './eh-records.ts';
import { elfError } from './errors.ts';
import type { ElfImage } from './image.ts';
import { fileBytesAt } from './memory.ts';

/** A range of code that goes on at `pad` when it throws. */
export interface CallSite {
  readonly start: Rva;
  /** Exclusive. */
  readonly end: Rva;
  readonly pad: Rva;
}

/** The call sites that have a pad, in the table's order. @throws E_ELF_EH_FRAME where the area is damaged. */
export function readCallSites(image: ElfImage, fde: Fde): readonly CallSite[] {
  if (fde.lsda === undefined) return [];
  const fail = (what: string): never => {
    throw elfError('E_ELF_EH_FRAME', { path: image.path, part: '.gcc_except_table', what });
  };
  if ((fde.cie.lsdaEncoding & DW_EH_PE_indirect) !== 0) fail('a data area is reached through a slot');
  const view = fileBytesAt(image, fde.lsda) ?? fail(`0x${fde.lsda.toString(16)} has no bytes in the file`);
  const reader = new DwarfReader(view, {
    base: fde.lsda,
    data: undefined,
    absolute: (_at, value) => value,
    fail: (at, what) => fail(`${what}, at 0x${at.toString(16)}`),
  });
  const startEncoding = reader.u8();
  const base = startEncoding === DW_EH_PE_omit ? fde.start : reader.pointer(startEncoding);
  if (reader.u8() !== DW_EH_PE_omit) reader.uleb();
  const encoding = reader.u8();
  const size = reader.uleb();
  const end = reader.skip(size) + size;
  reader.at = end - size;
  reader.limit = end;
  const sites: CallSite[] = [];
  while (reader.at < end) {
    const from = reader.value(encoding);
    const length = reader.value(encoding);
    const pad = reader.value(encoding);
    reader.uleb();
    if (pad === 0) continue;
    const start = fde.start + from;
    if (Math.min(start, length, base + pad) < 0) reader.fail('a call site is no range of code');
    sites.push({ start: rva(start), end: rva(start + length), pad: rva(base + pad) });
  }
  return sites;
}
