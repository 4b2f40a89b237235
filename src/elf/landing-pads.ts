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

/** A row of the table. */
export interface SiteRow extends Omit<CallSite, 'pad'> {
  /** Undefined: nothing is to be done here, the exception goes on to the caller. */
  readonly pad: Rva | undefined;
  /** 0: a clean-up; else its first action record, counted from 1 in bytes of the table of actions. */
  readonly action: number;
}

export interface SiteTable {
  /** In the table's order. */
  readonly rows: readonly SiteRow[];
  /** Pads count from an address of their own (LPStart) and not from the start of the code. */
  readonly hasPadStart: boolean;
  /** Of the table of types; DW_EH_PE_omit where there is none. */
  readonly typeEncoding: number;
  /** Where the table of types ends and that of exception specifications begins, from the area's start; 0: there is none. */
  readonly typesAt: number;
  /** Where the table of actions begins, from the area's start. */
  readonly actionsAt: number;
  /** At the table of actions; positions count from the area's start. */
  readonly reader: DwarfReader;
}

/** The call sites that have a pad, in the table's order. @throws E_ELF_EH_FRAME where the area is damaged. */
export function readCallSites(image: ElfImage, fde: Fde): readonly CallSite[] {
  if (fde.lsda === undefined) return [];
  return readSiteTable(image, fde, fde.lsda).rows.flatMap(({ start, end, pad }) =>
    pad === undefined ? [] : [{ start, end, pad }],
  );
}

/**
 * @param lsda where the FDE's area begins, or the slot that leads to it.
 * @throws E_ELF_EH_FRAME where the area is damaged.
 */
export function readSiteTable(image: ElfImage, fde: Fde, lsda: Rva): SiteTable {
  const fail = (what: string): never => {
    throw elfError('E_ELF_EH_FRAME', { path: image.path, part: '.gcc_except_table', what });
  };
  if ((fde.cie.lsdaEncoding & DW_EH_PE_indirect) !== 0) fail('a data area is reached through a slot');
  const view = fileBytesAt(image, lsda) ?? fail(`0x${lsda.toString(16)} has no bytes in the file`);
  const reader = new DwarfReader(view, {
    base: lsda,
    data: undefined,
    absolute: (_at, value) => value,
    fail: (at, what) => fail(`${what}, at 0x${at.toString(16)}`),
  });
  const whole = reader.limit;
  const startEncoding = reader.u8();
  const hasPadStart = startEncoding !== DW_EH_PE_omit;
  const base = hasPadStart ? reader.pointer(startEncoding) : fde.start;
  const typeEncoding = reader.u8();
  const toTypes = typeEncoding === DW_EH_PE_omit ? 0 : reader.uleb();
  const typesAt = typeEncoding === DW_EH_PE_omit ? 0 : reader.at + toTypes;
  const encoding = reader.u8();
  const size = reader.uleb();
  const actionsAt = reader.skip(size) + size;
  reader.at = actionsAt - size;
  reader.limit = actionsAt;
  const rows: SiteRow[] = [];
  while (reader.at < actionsAt) {
    const from = reader.value(encoding);
    const length = reader.value(encoding);
    const pad = reader.value(encoding);
    const action = reader.uleb();
    const start = fde.start + from;
    if (Math.min(start, length, base + pad) < 0) reader.fail('a call site is no range of code');
    rows.push({
      start: rva(start),
      end: rva(start + length),
      pad: pad === 0 ? undefined : rva(base + pad),
      action,
    });
  }
  reader.limit = whole;
  return { rows, hasPadStart, typeEncoding, typesAt, actionsAt, reader };
}
