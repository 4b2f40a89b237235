/**
 * A module's rewriting from start to end: what is copied, where it goes, what then leads to it.
 *
 * The original's bytes keep their places in the file and in memory; model.ts says why. What is added stands
 * behind them: a segment with what every start reads (the copies, and behind them program headers and jump
 * tables), a segment with unwind tables, and, not loaded, section headers, symbols and the record for the way back.
 */
import { fileOffset, PAGE_SIZE, pagesIn } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf } from '../elf/read.ts';
import { ET_EXEC, PF_R, PF_X, PHDR_SIZE, PT_LOAD, SHF_ALLOC, SHF_EXECINSTR } from '../elf/spec.ts';
import { apartStubSize, writeApartStub } from './apart-stub.ts';
import { type ChosenUnits, chooseUnits, whyModuleStays } from './choose-units.ts';
import { copyTables, type FoundTables, findTables, type PlacedTable, placeTables } from './copy-tables.ts';
import { copyUnits } from './copy-units.ts';
import { findRoom, type PlacedClones, placeClones, type Room } from './lay-out.ts';
import type { Kept, ModuleAnalysis, PageRun, RewriteOptions, RewrittenModule } from './model.ts';
import { patchReferences } from './patch-references.ts';
import { type AddedPart, hasSections, rebuildSections } from './rebuild-sections.ts';
import { planUnwind, type UnwindPlan } from './rebuild-unwind.ts';
import { redirectEntries } from './redirect-entries.ts';
import { isRewritten, recordChanges, restoreModule } from './restore.ts';
import {
  type AddedSegment,
  Cursor,
  hasUnwindHeader,
  offsetIn,
  programHeaders,
  programHeadersSize,
  type Span,
  writeElfHeader,
} from './write-module.ts';

/** e_entry in the ELF header. */
const ENTRY_AT = 24;
const HOT_SECTION = '.text.winnow';
const TABLES_SECTION = '.rodata.winnow';
const PADS_SECTION = '.gcc_except_table.winnow';
/** A module with more such units is not what it seems to be. */
const MOST_WITHOUT_FRAMES = 100;

/**
 * The module with copies of the hot units. A module that has been rewritten before is restored first, so
 * twice makes the same as once.
 *
 * @param analysis of the module as it was before any rewriting.
 * @returns the new file, or why the module stays as it is.
 * @throws WinnowError E_ELF_… where a table of the file is damaged.
 */
export function rewriteModule(
  image: ElfImage,
  analysis: ModuleAnalysis,
  options: RewriteOptions,
): RewrittenModule | Kept {
  const original = isRewritten(image.bytes)
    ? readElf(restoreModule(image.bytes, image.path), image.path)
    : image;
  const reason = whyModuleStays(original);
  if (reason !== undefined) return { kind: 'kept', reason };
  const canonical = original.header.type === ET_EXEC ? 'original' : 'copy';
  const room = findRoom(original);
  const chosen = chooseUnits(original, analysis, options.hot, canonical);
  const placed = placeWithFrames(original, chosen, room, canonical);
  if (placed.kind === 'kept') return placed;
  const { clones, unwind } = placed;
  const tables = findTables(original, clones.clones, analysis);
  // The segment of the copies is executable if there are any.
  const apart = clones.clones.length > 0 ? (options.apart ?? []) : [];
  const layout = layOut(original, room, clones, { tables, unwind, apart: apart.length });
  // Addresses are final from here on.
  const bytes = Buffer.alloc(offsetIn(room, layout.end));
  bytes.set(original.bytes);
  const code = bytesOf(bytes, room, layout.code);
  copyUnits(original, chosen, clones, layout.tables, code, layout.code.at);
  copyTables(layout.tables, clones, bytesOf(bytes, room, layout.tableSpan), layout.tableSpan.at);
  const { hdr, frame, pads } = layout;
  const tablesOfFrames = unwind.write({ hdr: hdr.at, frame: frame.at, pads: pads.at }, clones);
  bytesOf(bytes, room, hdr).set(tablesOfFrames.hdr);
  bytesOf(bytes, room, frame).set(tablesOfFrames.frame);
  bytesOf(bytes, room, pads).set(tablesOfFrames.pads);
  bytesOf(bytes, room, layout.headers).set(
    programHeaders({
      image: original,
      segments: layout.segments,
      table: layout.headers,
      unwind: unwind.hdrSize > 0 ? layout.hdr : undefined,
      cold: options.cold,
      room,
    }),
  );

  // From here on the original's own bytes change.
  const patchedReferences = patchReferences(original, analysis.references, clones, bytes);
  const moved = movedSections(layout, room);
  const hadBefore = ({ name }: AddedPart): boolean => original.sections.some((old) => old.name === name);
  const added = [...addedSections(layout, room), ...moved.filter((part) => !hadBefore(part))];
  const hotSection = hasSections(original) && clones.clones.length > 0 ? original.sections.length : undefined;
  const redirected = redirectEntries(original, clones, bytes, hotSection);
  if (apart.length > 0) enterByStub(original, clones, layout.stub, apart, bytes, room);
  const rest = rebuildSections({
    image: original,
    clones,
    at: fileOffset(bytes.length),
    added,
    moved,
    undo: recordChanges(original.bytes, bytes),
  });
  writeElfHeader(
    bytes,
    {
      at: offsetIn(room, layout.headers.at),
      count: layout.headers.size / PHDR_SIZE,
    },
    rest.count === 0 ? undefined : { at: rest.headersAt, count: rest.count },
  );
  return {
    kind: 'rewritten',
    bytes: Buffer.concat([bytes, rest.bytes]),
    map: clones,
    figures: {
      textPages: pagesOfCode(original),
      hotPages: pagesIn(layout.code.size),
      addedReadOnlyPages:
        pagesIn(layout.used.size) - pagesIn(layout.code.size) + pagesIn(layout.end - layout.hdr.at),
      units: analysis.units.length,
      clonedUnits: clones.clones.length,
      jumpTables: tables.tables.length + tables.kept.length,
      clonedJumpTables: tables.tables.length,
      patchedReferences,
      patchedRelocations: redirected.relocations,
      patchedSymbols: redirected.symbols,
    },
    kept: [...chosen.kept, ...placed.kept, ...tables.kept, ...unwind.kept],
  };
}

interface Placed {
  readonly kind: 'placed';
  readonly clones: PlacedClones;
  readonly unwind: UnwindPlan;
  readonly kept: readonly Kept[];
}

/** Gives the units places. One whose unwind tables cannot be copied stays; where all would stay, the module does. */
function placeWithFrames(
  image: ElfImage,
  chosen: ChosenUnits,
  room: Room,
  canonical: PlacedClones['canonical'],
): Placed | Kept {
  let units = chosen.units;
  const kept: Kept[] = [];
  for (;;) {
    const clones = placeClones(units, room.at, canonical, chosen.phases);
    const unwind = planUnwind(image, clones.clones);
    if (unwind.kind === 'unwind') return { kind: 'placed', clones, unwind, kept };
    const { at } = unwind;
    const others = units.filter(({ start, end }) => at === undefined || at < start || at >= end);
    if (at === undefined || others.length === units.length || kept.length >= MOST_WITHOUT_FRAMES)
      return unwind;
    kept.push(unwind);
    units = others;
  }
}

/** The program begins with the stub, which goes on where it began. */
function enterByStub(
  image: ElfImage,
  clones: PlacedClones,
  stub: Span,
  apart: readonly PageRun[],
  bytes: Buffer,
  room: Room,
): void {
  const entry = clones.copyOf(image.header.entry) ?? image.header.entry;
  writeApartStub(apart, bytesOf(bytes, room, stub), stub.at, entry);
  bytes.writeBigUInt64LE(BigInt(stub.at), ENTRY_AT);
}

interface AddedTables {
  readonly tables: FoundTables;
  readonly unwind: UnwindPlan;
  /** Runs of pages. */
  readonly apart: number;
}

interface Layout {
  readonly code: Span;
  readonly headers: Span;
  /** What runs before the program, where pages are to be mapped apart. */
  readonly stub: Span;
  readonly tables: readonly PlacedTable[];
  readonly tableSpan: Span;
  /** From the copies to the end of their jump tables. */
  readonly used: Span;
  readonly hdr: Span;
  readonly frame: Span;
  /** LSDAs of parts of functions. */
  readonly pads: Span;
  readonly segments: readonly AddedSegment[];
  /** Behind the last added byte that is loaded. */
  readonly end: Span['at'];
}

/**
 * Page faults map what lies round the page that is touched, as far as its segment reaches. The C library looks at
 * the program headers of each module at start, so they stand with the copies, on the last page of which there
 * is often room; running code reads jump tables. Unwind tables, which few programs ever read, are kept away from both by a
 * segment of their own.
 */
function layOut(image: ElfImage, room: Room, clones: PlacedClones, added: AddedTables): Layout {
  const { hdrSize, frameSize, padsSize } = added.unwind;
  const code: Span = { at: room.at, size: clones.end - room.at };
  const cursor = new Cursor(clones.end);
  const hasFrames = hdrSize + frameSize > 0;
  const isNewHeader = hdrSize > 0 && !hasUnwindHeader(image);
  const addedHeaders = (hasFrames ? 2 : 1) + (isNewHeader ? 1 : 0);
  const headers = cursor.take(programHeadersSize(image, addedHeaders), 8);
  const stub = cursor.take(apartStubSize(added.apart), 4);
  const { placed, size } = placeTables(added.tables.tables, cursor.next);
  const tableSpan = cursor.take(size, 8);
  const used: Span = { at: room.at, size: cursor.next - room.at };
  const hdr = cursor.take(hdrSize, hasFrames ? PAGE_SIZE : 1);
  const frame = cursor.take(frameSize, 8);
  const pads = cursor.take(padsSize, 4);
  const frames = { at: hdr.at, size: cursor.next - hdr.at, flags: PF_R };
  return {
    code,
    headers,
    stub,
    tables: placed,
    tableSpan,
    used,
    hdr,
    frame,
    pads,
    segments: [{ ...used, flags: code.size > 0 ? PF_R | PF_X : PF_R }, ...(hasFrames ? [frames] : [])],
    end: cursor.next,
  };
}

const addedSections = (layout: Layout, room: Room): readonly AddedPart[] => [
  ...addedPart(room, HOT_SECTION, layout.code, SHF_ALLOC | SHF_EXECINSTR, 64),
  ...addedPart(room, TABLES_SECTION, layout.tableSpan, SHF_ALLOC, 8),
  ...addedPart(room, PADS_SECTION, layout.pads, SHF_ALLOC, 4),
];

const movedSections = (layout: Layout, room: Room): readonly AddedPart[] => [
  ...addedPart(room, '.eh_frame_hdr', layout.hdr, SHF_ALLOC, 4),
  ...addedPart(room, '.eh_frame', layout.frame, SHF_ALLOC, 8),
];

const addedPart = (room: Room, name: string, span: Span, flags: number, align: number): AddedPart[] =>
  span.size === 0 ? [] : [{ name, ...span, offset: fileOffset(offsetIn(room, span.at)), flags, align }];

const bytesOf = (bytes: Uint8Array, room: Room, { at, size }: Span): Uint8Array =>
  bytes.subarray(offsetIn(room, at), offsetIn(room, at) + size);

/** Pages of the segments that are executable. */
const pagesOfCode = (image: ElfImage): number =>
  image.segments
    .filter(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0)
    .reduce((pages, { rva: at, memSize }) => {
      const first = Math.floor(at / PAGE_SIZE);
      return pages + Math.ceil((at + memSize) / PAGE_SIZE) - first;
    }, 0);
