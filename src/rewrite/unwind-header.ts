/** .eh_frame_hdr: where .eh_frame is, and a table of its FDEs by the address of their code. */
import type { Rva } from '../base/brands.ts';
import { DW_EH_PE_pcrel, DW_EH_PE_sdata4, DW_EH_PE_udata4 } from '../elf/dwarf.ts';
import { HDR_TABLE_ENCODING } from '../elf/eh-frame-hdr.ts';
import { PointerWriter } from './pointer-writer.ts';

export interface Row {
  readonly start: number;
  /** RVA of the FDE. */
  readonly fde: number;
}

const HDR_SIZE = 12;

export const headerSize = (rows: number): number => HDR_SIZE + 8 * rows;

export function writeHeader(at: Rva, frameAt: Rva, rows: readonly Row[]): Uint8Array {
  const bytes = new Uint8Array(headerSize(rows.length));
  const out = new PointerWriter(bytes, at);
  bytes.set([1, DW_EH_PE_pcrel | DW_EH_PE_sdata4, DW_EH_PE_udata4, HDR_TABLE_ENCODING]);
  out.pointer(4, DW_EH_PE_pcrel | DW_EH_PE_sdata4, frameAt);
  out.u32(8, rows.length);
  const ascending = rows.toSorted((a, b) => a.start - b.start);
  for (const [i, { start, fde }] of ascending.entries()) {
    out.number(HDR_SIZE + 8 * i, 4, start - at);
    out.number(HDR_SIZE + 8 * i + 4, 4, fde - at);
  }
  return bytes;
}
