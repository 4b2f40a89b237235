/**
 * Data areas for parts of functions: where control goes on in each when something throws.
 *
 * Problem: the language-specific data area (LSDA) of a function counts call sites and landing pads from the start of
 * its code. Where the function is cut its parts stand apart, and no one start serves all of them.
 * Example: f calls g at f + 0x20, whose pad is f + 0x400. The first part is copied to 0x9000, the part with the pad to
 * 0x7800. An area of the first part says: 0x20 to 0x25, pad at -0x1800.
 * Method: each part's FDE gets an area of its own, with the rows of the function's table that lie in the part, in their
 * order, and with the same actions and types. Numbers of its rows are signed ones of 4 bytes: the personality
 * routines of libgcc, libstdc++, libc++abi, compiler-rt and Rust all read them by the encoding that the area names and add
 * the pad to the start, so a pad may lie in front of the code. An explicit start of pads (LPStart) would say the same, but
 * compiler-rt and older libc++abi step over it. A pad that was not copied is the original's.
 * Limits: only of routines that are known, by their names or as Rust's (rust-routine.ts), since each could read its area as it likes. A pad at the very
 * start of the code whose calls throw there cannot be said (0 is "no pad"), so find-parts.ts does not cut so. Areas with
 * an LPStart of their own, and tables of types that relocations fill, are not taken.
 */
import type { Rva } from '../base/brands.ts';
import { WinnowError } from '../base/errors.ts';
import {
  baseOf,
  DW_EH_PE_absptr,
  DW_EH_PE_aligned,
  DW_EH_PE_omit,
  DW_EH_PE_pcrel,
  DW_EH_PE_sdata4,
  formatOf,
  formatSize,
} from '../elf/dwarf.ts';
import type { Cie, Fde } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import { readSiteTable, type SiteRow, type SiteTable } from '../elf/landing-pads.ts';
import { Personalities } from '../elf/personality.ts';
import { PF_W } from '../elf/spec.ts';
import { PointerWriter } from './pointer-writer.ts';
import { isRustRoutine } from './rust-routine.ts';

/** Those whose areas are what the LSB says. */
const KNOWN = new Set(['__gxx_personality_v0', '__gcc_personality_v0', 'rust_eh_personality']);

/** What the area of a function says, or of a part of it. Addresses are the original's. */
export interface PadData {
  /** Ascending, not overlapping. */
  readonly rows: readonly SiteRow[];
  /** The table of actions: positions in it count from themselves. */
  readonly actions: Uint8Array;
  readonly typeEncoding: number;
  /** What each type leads to, the first one (which stands last) first; 0: any. */
  readonly types: readonly number[];
  /** Exception specifications: lists of numbers of types. */
  readonly specifications: Uint8Array;
}

const NOTHING = new Uint8Array();

const personalities = new WeakMap<ElfImage, Personalities>();

const known = new WeakMap<Fde, PadData | 'unknown'>();

/** What the FDE's area says, if it can be said of its parts too. */
export function readPadData(image: ElfImage, fde: Fde): PadData | undefined {
  const data = known.get(fde) ?? readArea(image, fde) ?? 'unknown';
  known.set(fde, data);
  return data === 'unknown' ? undefined : data;
}

function readArea(image: ElfImage, fde: Fde): PadData | undefined {
  const { lsda, cie } = fde;
  if (lsda === undefined || ((image.segmentOf(lsda)?.flags ?? PF_W) & PF_W) !== 0) return undefined;
  const names = personalities.get(image) ?? new Personalities(image);
  personalities.set(image, names);
  if (!isKnown(image, names, cie)) return undefined;
  try {
    const table = readSiteTable(image, fde, lsda);
    return !table.hasPadStart && areOrdinary(table.rows, fde) ? withActions(table) : undefined;
  } catch (error) {
    // What is damaged is told by those who cannot do without it.
    if (error instanceof WinnowError) return undefined;
    throw error;
  }
}

function isKnown(image: ElfImage, names: Personalities, cie: Cie): boolean {
  const name = names.nameOf(cie);
  if (name !== undefined) return KNOWN.has(name);
  const routine = names.routineOf(cie);
  return routine !== undefined && isRustRoutine(image, routine);
}

function areOrdinary(rows: readonly SiteRow[], { start, end }: Fde): boolean {
  return rows.every((row, i) => {
    const isNext = row.start >= (rows[i - 1]?.end ?? start) && row.end >= row.start && row.end <= end;
    return isNext && (row.pad === undefined || (row.pad > start && row.pad < end));
  });
}

/** Of all chains of actions that rows begin: how far they reach, and how many types they name. */
function withActions(table: SiteTable): PadData | undefined {
  const { rows, reader, actionsAt, typeEncoding, typesAt } = table;
  let end = actionsAt;
  let types = 0;
  let specificationsEnd = typesAt;
  const seen = new Set<number>();
  for (const { action } of rows) {
    if (action === 0) continue;
    for (let at: number | undefined = actionsAt + action - 1; at !== undefined && !seen.has(at); ) {
      if (at < actionsAt || (typesAt > 0 && at >= typesAt)) return undefined;
      seen.add(at);
      reader.at = at;
      const filter = reader.sleb();
      const nextAt = reader.at;
      const next = reader.sleb();
      end = Math.max(end, reader.at);
      at = next === 0 ? undefined : nextAt + next;
      if (filter !== 0 && typesAt === 0) return undefined;
      if (filter > 0) types = Math.max(types, filter);
      if (filter >= 0) continue;
      reader.at = typesAt - filter - 1;
      for (let type = reader.uleb(); type !== 0; type = reader.uleb()) types = Math.max(types, type);
      specificationsEnd = Math.max(specificationsEnd, reader.at);
    }
  }
  const bytes = (from: number, to: number): Uint8Array =>
    new Uint8Array(reader.view.buffer, reader.view.byteOffset + from, to - from);
  const rest = { rows, actions: bytes(actionsAt, end), specifications: bytes(typesAt, specificationsEnd) };
  if (types === 0 && specificationsEnd === typesAt)
    return { ...rest, typeEncoding: DW_EH_PE_omit, types: [] };
  const size = typeSize(typeEncoding);
  if (size === undefined || typesAt - types * size < end) return undefined;
  const targets = Array.from({ length: types }, (_, i) => {
    reader.at = typesAt - (i + 1) * size;
    return reader.pointer(typeEncoding);
  });
  return { ...rest, typeEncoding, types: targets };
}

/** Bytes of a pointer to a type that can be written anew elsewhere. */
function typeSize(encoding: number): 4 | 8 | undefined {
  const size = formatSize(encoding);
  if (size === undefined || size === 2 || encoding === DW_EH_PE_aligned) return undefined;
  if (baseOf(encoding) === DW_EH_PE_absptr) return size;
  if (baseOf(encoding) !== DW_EH_PE_pcrel) return undefined;
  return size === 8 || formatOf(encoding) === DW_EH_PE_sdata4 ? size : undefined;
}

/** The same of a part: of the code from `start` to `end`. */
export function padDataWithin(data: PadData, start: number, end: number): PadData {
  const rows = data.rows.filter((row) => row.start < end && row.end > start);
  if (rows.some(({ action }) => action !== 0)) return { ...data, rows };
  return { rows, actions: NOTHING, typeEncoding: DW_EH_PE_omit, types: [], specifications: NOTHING };
}

/** Three numbers of 4 bytes and the action. */
const rowSize = ({ action }: SiteRow): number => 12 + ulebSize(action);
const rowsSize = ({ rows }: PadData): number => rows.reduce((size, row) => size + rowSize(row), 0);

/** Where things stand in an area, from its start. */
interface Places {
  readonly rowsAt: number;
  readonly typesEnd: number;
  /** Bytes of the field that leads to the types. */
  readonly toTypesSize: number;
  readonly size: number;
}

const AREA_ALIGN = 4;

function placesIn(data: PadData): Places {
  const { actions, types, typeEncoding, specifications } = data;
  const rowBytes = rowsSize(data);
  const typeBytes = types.length * (typeSize(typeEncoding) ?? 0);
  for (let toTypesSize = typeEncoding === DW_EH_PE_omit ? 0 : 1; ; toTypesSize++) {
    const rowsAt = 3 + toTypesSize + ulebSize(rowBytes);
    const behindActions = rowsAt + rowBytes + actions.length;
    const typesEnd =
      typeEncoding === DW_EH_PE_omit ? behindActions : alignUp(behindActions, AREA_ALIGN) + typeBytes;
    const size = alignUp(typesEnd + specifications.length, AREA_ALIGN);
    if (toTypesSize === 0 || ulebSize(typesEnd - 2 - toTypesSize) <= toTypesSize)
      return { rowsAt, typesEnd, toTypesSize, size };
  }
}

const alignUp = (value: number, align: number): number => Math.ceil(value / align) * align;

/** A multiple of 4. */
export const padDataSize = (data: PadData): number => placesIn(data).size;

/**
 * Writes the area of a part.
 *
 * @param part where the part's code begins, where it did, and how much of it there is.
 * @param bytes of the area, which stands at address `at`, a multiple of 4.
 * @param padOf where a pad is now.
 */
export function writePadData(
  data: PadData,
  part: { readonly copy: number; readonly original: number; readonly length: number },
  padOf: (pad: Rva) => number,
  bytes: Uint8Array,
  at: number,
): void {
  const { rowsAt, typesEnd, toTypesSize } = placesIn(data);
  const out = new PointerWriter(bytes, at);
  bytes[0] = DW_EH_PE_omit;
  bytes[1] = data.typeEncoding;
  if (toTypesSize > 0) putUleb(bytes, 2, typesEnd - 2 - toTypesSize, toTypesSize);
  bytes[2 + toTypesSize] = DW_EH_PE_sdata4;
  const rowBytes = rowsSize(data);
  putUleb(bytes, 3 + toTypesSize, rowBytes, ulebSize(rowBytes));
  let next = rowsAt;
  for (const { start, end, pad, action } of data.rows) {
    const from = Math.max(start - part.original, 0);
    const toPad = pad === undefined ? 0 : padOf(pad) - part.copy;
    if (pad !== undefined && toPad === 0) throw new Error('a landing pad at the start of its part');
    out.u32(next, from);
    out.u32(next + 4, Math.min(end - part.original, part.length) - from);
    out.number(next + 8, 4, toPad);
    putUleb(bytes, next + 12, action, ulebSize(action));
    next += 12 + ulebSize(action);
  }
  bytes.set(data.actions, next);
  const size = typeSize(data.typeEncoding) ?? 0;
  data.types.forEach((target, i) => {
    out.pointer(typesEnd - (i + 1) * size, data.typeEncoding, target);
  });
  bytes.set(data.specifications, typesEnd);
}

function ulebSize(value: number): number {
  let size = 1;
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** In exactly `size` bytes: what is left over says that more follows. */
function putUleb(bytes: Uint8Array, at: number, value: number, size: number): void {
  let rest = value;
  for (let i = 0; i < size; i++) {
    bytes[at + i] = (rest % 128) | (i < size - 1 ? 0x80 : 0);
    rest = Math.floor(rest / 128);
  }
}
