/** .eh_frame_hdr: where .eh_frame begins, and a table of its FDEs sorted by code address. */
import { type Rva, rva } from '../base/brands.ts';
import { DW_EH_PE_datarel, DW_EH_PE_omit, DW_EH_PE_sdata4, DwarfReader } from './dwarf.ts';
import type { ElfImage } from './image.ts';
import { fileBytesAt } from './memory.ts';
import * as spec from './spec.ts';

/** The one encoding that libgcc's unwinder searches; with another it reads all of .eh_frame. */
export const HDR_TABLE_ENCODING = DW_EH_PE_datarel | DW_EH_PE_sdata4;

export interface EhFrameHeader {
  /** Of PT_GNU_EH_FRAME. */
  readonly at: Rva;
  /** Bytes of the segment. */
  readonly size: number;
  /** `eh_frame_ptr` */
  readonly frame: Rva;
  /** Undefined where there is no table that can be searched. */
  readonly table: EhFrameTable | undefined;
}

/** Rows in the file's order, which ought to ascend by `start`. */
export interface EhFrameTable {
  /** First code address. */
  readonly starts: Float64Array;
  /** RVA of the FDE. */
  readonly fdes: Float64Array;
}

/** What PT_GNU_EH_FRAME says; undefined where there is no such segment, a string where it is damaged: how. */
export function readEhFrameHeader(image: ElfImage): EhFrameHeader | string | undefined {
  const segment = image.segments.find(({ type }) => type === spec.PT_GNU_EH_FRAME);
  // A file of debugging data keeps the header of the segment without its bytes.
  if (segment === undefined || segment.fileSize === 0) return undefined;
  const view = fileBytesAt(image, segment.rva);
  if (view === undefined) return 'its address is in no PT_LOAD segment';
  try {
    return readHeader(view, segment.rva, segment.memSize);
  } catch (error) {
    if (error instanceof Damage) return error.message;
    throw error;
  }
}

class Damage extends Error {}

function readHeader(view: DataView, at: Rva, size: number): EhFrameHeader {
  const reader = new DwarfReader(view, {
    base: at,
    data: at,
    absolute: (_, value) => value,
    fail: (where, what) => {
      throw new Damage(`${what}, at 0x${where.toString(16)}`);
    },
  });
  reader.limit = Math.min(view.byteLength, size);
  const version = reader.u8();
  if (version !== 1) reader.fail(`the version is ${version}, not 1`);
  const frameEncoding = reader.u8();
  const countEncoding = reader.u8();
  const tableEncoding = reader.u8();
  if (frameEncoding === DW_EH_PE_omit) reader.fail('the pointer to .eh_frame is left out');
  const frame = reader.pointer(frameEncoding);
  if (frame === 0) reader.fail('the pointer to .eh_frame is zero');
  const header = { at, size, frame: rva(frame) };
  if (countEncoding === DW_EH_PE_omit || tableEncoding !== HDR_TABLE_ENCODING) {
    return { ...header, table: undefined };
  }
  const count = reader.pointer(countEncoding);
  if (count > (reader.limit - reader.at) / 8)
    reader.fail(`a table of ${count} rows is larger than the segment`);
  const starts = new Float64Array(count);
  const fdes = new Float64Array(count);
  for (let row = 0, place = reader.at; row < count; row++, place += 8) {
    starts[row] = at + view.getInt32(place, true);
    fdes[row] = at + view.getInt32(place + 4, true);
  }
  return { ...header, table: { starts, fdes } };
}
