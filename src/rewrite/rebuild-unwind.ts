/**
 * Unwind tables for a module with clones: a whole new .eh_frame and .eh_frame_hdr.
 *
 * Problem: exceptions, backtrace() and debuggers find what to do at a code address in one sorted table of the
 * module. Copies have new addresses, and the old table has no room.
 * Example: f at 0x1100 has an FDE with rows and an LSDA (which says where its landing pads are). The copy at
 * 0x9040 gets an FDE with the same rows and the same LSDA: both count from the function's start.
 * Method: all old records in their order, their pc-relative fields written anew for their new place; then an FDE for
 * each function of each clone; one zero length; and a table over all of them. Stubs of a PLT share one FDE: their
 * copies get the slice of it that is theirs, neighbours with the same row one together. Where a row asks for the
 * lowest bits of the instruction pointer, the copy's bits are put right.
 * An LSDA counts from the start of its code, so parts of functions get LSDAs of their own (part-pads.ts).
 * Programs linked statically may have no PT_GNU_EH_FRAME and register their old tables when they start. Of an address
 * that is not in these, the unwinder asks the program headers too: so they get one.
 * Limits: modules are kept whose pointers have a variable length or are filled by relocations. An LSDA that says where its landing pads begin (LPStart) leads from the
 * clone to the original's: correct, for a page more. Neither GCC nor Clang writes such by default.
 */
import type { Rva } from '../base/brands.ts';
import {
  baseOf,
  DW_EH_PE_absptr,
  DW_EH_PE_aligned,
  DW_EH_PE_indirect,
  DW_EH_PE_omit,
  DW_EH_PE_pcrel,
  DW_EH_PE_sdata4,
  formatOf,
  formatSize,
} from '../elf/dwarf.ts';
import { type Cie, type EhFrame, type Fde, isLeftover, readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import * as spec from '../elf/spec.ts';
import { type CloneFrame, cloneFrames } from './clone-frames.ts';
import type { Clone, CloneMap, Kept } from './model.ts';
import { padDataSize, writePadData } from './part-pads.ts';
import { PointerWriter } from './pointer-writer.ts';
import { headerSize, type Row, writeHeader } from './unwind-header.ts';

export interface UnwindPlan {
  readonly kind: 'unwind';
  /**
   * Bytes of .eh_frame_hdr, to be aligned to 4. PT_GNU_EH_FRAME must lead to it, even where there was none
   * before. 0: the module has no unwind tables at all.
   */
  readonly hdrSize: number;
  /** Bytes of .eh_frame, to be aligned to 8. */
  readonly frameSize: number;
  /** Bytes of the LSDAs of parts of functions, to be aligned to 4. */
  readonly padsSize: number;
  /** FDEs for clones. */
  readonly cloneFdes: number;
  /** Clones that unwind rightly, but not by copies alone. */
  readonly kept: readonly Kept[];
  /**
   * The tables for these places.
   *
   * @param map with the planned clones. They may have moved since, all of them by the same multiple of 16.
   */
  write(at: UnwindPlaces, map: CloneMap): UnwindBytes;
}

export interface UnwindPlaces {
  readonly hdr: Rva;
  readonly frame: Rva;
  readonly pads: Rva;
}

export interface UnwindBytes {
  readonly hdr: Uint8Array;
  readonly frame: Uint8Array;
  readonly pads: Uint8Array;
}

/** The room for what is added to a module, so that 32 bits lead from any place of it to any other. */
const MOST_ADDED = 2 ** 29;

/**
 * @param clones with addresses whose distances are final.
 * @throws what readEhFrame throws.
 */
export function planUnwind(image: ElfImage, clones: readonly Clone[]): UnwindPlan | Kept {
  const frame = readEhFrame(image);
  // Nothing else leads to the tables of a program that registers them itself, as those linked statically do.
  if (frame.at === undefined && image.sections.length === 0 && clones.length > 0) {
    return kept('nothing says whether it has unwind tables');
  }
  if (frame.header === undefined && !frame.fdes.some((fde) => !isLeftover(fde))) {
    const none = { hdr: new Uint8Array(), frame: new Uint8Array(), pads: new Uint8Array() };
    return {
      kind: 'unwind',
      hdrSize: 0,
      frameSize: 0,
      padsSize: 0,
      cloneFdes: 0,
      kept: [],
      write: () => none,
    };
  }
  const reason = whyNot(image, frame);
  if (reason !== undefined) return kept(reason);
  const cloned = cloneFrames(image, frame, clones);
  if (cloned.kind === 'kept') return cloned;
  const layout = layOut(image, frame, cloned.frames);
  const rows = layout.fdes.filter(({ listed }) => listed).length + layout.clones.length;
  return {
    kind: 'unwind',
    hdrSize: headerSize(rows),
    frameSize: layout.size,
    padsSize: layout.padsSize,
    cloneFdes: layout.clones.length,
    kept: cloned.kept,
    write: (at, map) => {
      const { bytes, rows, pads } = writeFrame(frame, layout, at, clones, map);
      return { hdr: writeHeader(at.hdr, at.frame, rows), frame: bytes, pads };
    },
  };
}

const kept = (reason: string): Kept => ({ kind: 'kept', reason });

function whyNot(image: ElfImage, frame: EhFrame): string | undefined {
  const loads = image.segments.filter(({ type, memSize }) => type === spec.PT_LOAD && memSize > 0);
  const bottom = Math.min(...loads.map(({ rva }) => rva));
  const top = Math.max(...loads.map(({ rva, memSize }) => rva + memSize));
  const far = (from: number): boolean => top - from > 2 ** 31 - MOST_ADDED;
  if (far(bottom)) return 'the module is too large for 32-bit distances';
  const begin = frame.at ?? 0;
  const end = begin + frame.bytes.length;
  if (image.relocations.some(({ rva }) => rva >= begin && rva < end))
    return 'relocations fill its unwind tables';
  for (const { pcEncoding, lsdaEncoding, personality } of frame.cies) {
    const pcBase = baseOf(pcEncoding);
    const known = (pcBase === DW_EH_PE_absptr || pcBase === DW_EH_PE_pcrel) && formatSize(pcEncoding) !== 2;
    const others = [lsdaEncoding, personality?.encoding ?? DW_EH_PE_omit];
    if (!known || formatSize(pcEncoding) === undefined || !canMove(pcEncoding) || !others.every(canMove)) {
      return 'an encoding of its unwind tables cannot lead to another place';
    }
    if (pcBase === DW_EH_PE_absptr && formatSize(pcEncoding) === 4 && far(0)) {
      return 'the module is too large for 32-bit addresses';
    }
  }
  return undefined;
}

/** Whether a pointer can be written anew where its field moves, to lower or higher addresses. */
function canMove(encoding: number): boolean {
  if (encoding === DW_EH_PE_omit) return true;
  if (encoding === DW_EH_PE_aligned) return false;
  if (baseOf(encoding) !== DW_EH_PE_pcrel) return true;
  return formatOf(encoding) === DW_EH_PE_sdata4 || formatSize(encoding) === 8;
}

interface Layout {
  readonly cies: readonly { readonly cie: Cie; readonly at: number }[];
  /** `listed`: it has a row in the table. */
  readonly fdes: readonly { readonly fde: Fde; readonly at: number; readonly listed: boolean }[];
  readonly clones: readonly PlacedFrame[];
  readonly cieAt: ReadonlyMap<Cie, number>;
  readonly size: number;
  readonly padsSize: number;
}

interface PlacedFrame {
  readonly clone: CloneFrame;
  readonly at: number;
  readonly size: number;
  /** Where its own LSDA stands, if it has one, from the first of those. */
  readonly padsAt: number;
}

/** Offsets of all records. */
function layOut(image: ElfImage, frame: EhFrame, frames: readonly CloneFrame[]): Layout {
  let next = 0;
  const place = (size: number): number => {
    const at = next;
    next += size;
    return at;
  };
  const cies: { cie: Cie; at: number }[] = [];
  const fdes: { fde: Fde; at: number; listed: boolean }[] = [];
  let i = 0;
  for (const fde of frame.fdes) {
    for (let cie = frame.cies[i]; cie !== undefined && cie.at < fde.at; cie = frame.cies[++i]) {
      cies.push({ cie, at: place(cie.size) });
    }
    // Addresses outside of the module do not fit the table, and a wrong row would spoil its order.
    const listed = !isLeftover(fde) && image.segmentOf(fde.start) !== undefined;
    fdes.push({ fde, at: place(fde.size), listed });
  }
  for (const cie of frame.cies.slice(i)) cies.push({ cie, at: place(cie.size) });
  let padsSize = 0;
  const clones = frames.map((clone) => {
    const size = sizeOf(clone);
    const padsAt = padsSize;
    if (clone.pads !== undefined) padsSize += padDataSize(clone.pads);
    return { clone, at: place(size), size, padsAt };
  });
  place(4);
  return { cies, fdes, clones, cieAt: new Map(cies.map(({ cie, at }) => [cie, at])), size: next, padsSize };
}

/** Length, distance to the CIE, start, range, augmentation data, instructions, filled up with no-operations. */
function sizeOf({ cie, augmentation, program }: CloneFrame): number {
  const size = 8 + 2 * (formatSize(cie.pcEncoding) ?? 0) + augmentation.length + program.length;
  return Math.ceil(size / 4) * 4;
}

function writeFrame(
  { at: oldBase, bytes: old }: EhFrame,
  layout: Layout,
  { frame: base, pads: padsBase }: UnwindPlaces,
  planned: readonly Clone[],
  map: CloneMap,
): { readonly bytes: Uint8Array; readonly rows: Row[]; readonly pads: Uint8Array } {
  const bytes = new Uint8Array(layout.size);
  const pads = new Uint8Array(layout.padsSize);
  const out = new PointerWriter(bytes, base);
  const rows: Row[] = [];
  const copy = (record: Cie | Fde, at: number): number => {
    const from = record.at - (oldBase ?? 0);
    bytes.set(old.subarray(from, from + record.size), at);
    return at - record.at;
  };
  for (const { cie, at } of layout.cies) {
    const moved = copy(cie, at);
    const { personality } = cie;
    if (personality === undefined) continue;
    const { encoding, target } = personality;
    const copyOfIt = (encoding & DW_EH_PE_indirect) === 0 ? map.copyOf(target) : undefined;
    out.pointer(moved + personality.at, encoding, copyOfIt ?? target);
  }
  for (const { fde, at, listed } of layout.fdes) {
    const moved = copy(fde, at);
    out.u32(moved + fde.ciePointerAt, moved + fde.ciePointerAt - (layout.cieAt.get(fde.cie) ?? 0));
    out.pointer(moved + fde.startAt, fde.cie.pcEncoding, fde.start);
    if (fde.lsdaAt !== undefined) out.pointer(moved + fde.lsdaAt, fde.cie.lsdaEncoding, fde.lsda ?? 0);
    if (listed) rows.push({ start: fde.start, fde: base + at });
  }
  for (const { clone, at, size, padsAt } of layout.clones) {
    const start = startOf(clone, planned, map);
    const { cie, augmentation, program, lsdaAt, phases } = clone;
    const pcSize = formatSize(cie.pcEncoding) ?? 0;
    const dataAt = at + 8 + 2 * pcSize;
    const programAt = dataAt + augmentation.length;
    out.u32(at, size - 4);
    out.u32(at + 4, at + 4 - (layout.cieAt.get(cie) ?? 0));
    out.pointer(at + 8, cie.pcEncoding, start.copy);
    out.number(at + 8 + pcSize, pcSize, clone.range);
    bytes.set(augmentation, dataAt);
    const lsda = clone.pads === undefined ? clone.lsda : padsBase + padsAt;
    if (lsdaAt !== undefined) out.pointer(dataAt + lsdaAt, cie.lsdaEncoding, lsda ?? 0);
    if (clone.pads !== undefined) {
      const own = pads.subarray(padsAt, padsAt + padDataSize(clone.pads));
      const part = { ...start, length: clone.range };
      writePadData(clone.pads, part, (pad) => map.copyOf(pad) ?? pad, own, padsBase + padsAt);
    }
    bytes.set(program, programAt);
    for (const phase of phases) {
      bytes[programAt + phase] = ((program[phase] ?? 0) + start.original - start.copy) & 15;
    }
    rows.push({ start: start.copy, fde: base + at });
  }
  return { bytes, rows, pads };
}

/** Where the code of a clone's FDE begins, and where its original did. */
function startOf(
  { clone, joined, from }: CloneFrame,
  planned: readonly Clone[],
  map: CloneMap,
): { readonly copy: number; readonly original: number } {
  const [first, last] = [map.clones[clone], map.clones[clone + joined]];
  const [plannedFirst, plannedLast] = [planned[clone], planned[clone + joined]];
  if (first?.unit !== plannedFirst?.unit || first === undefined || last === undefined) {
    throw new Error('unwind tables are written for other clones than were planned');
  }
  if (last.at - first.at !== (plannedLast?.at ?? 0) - (plannedFirst?.at ?? 0)) {
    throw new Error('clones that share an FDE have moved apart');
  }
  return { copy: first.at + from, original: first.unit.start + from };
}
