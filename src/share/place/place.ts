/**
 * Gives a linked program its addresses.
 *
 * Problem. A `LinkedState` knows where everything lies in its anchor, and which words point where; the
 * launcher needs addresses, and pages that it can map as they are.
 *
 * Example. The word at 0x3d80 of `libfoo.so`, at 0x21000 in the arena, points to offset 0x5000 of the program. With the
 * program at 0x2000_0000_0000, it becomes 0x2000_0000_5000, in the image's copy of the page 0x24000 of the arena.
 *
 * Method. place-maps.ts says which pages the image holds; here they are laid out in the order of their addresses, the base of the
 * anchor that a word points into is added to it, and words that every start writes are left zero.
 *
 * Limits. Addresses hold for all starts, until the image is built anew; or they slide (slide.ts).
 */
import { PAGE_SIZE, rva, type UserAddress, userAddress } from '../../base/brands.ts';
import type {
  PlacedFile,
  PlacedFixUp,
  PlacedImage,
  PlacedMap,
  PlacedWatch,
  ProcessorTraits,
} from '../linked/linked-model.ts';
import {
  ANCHORS,
  type Anchor,
  isJoined,
  type LinkedState,
  type Place,
  type Pointers,
  type ShareVariant,
} from '../model.ts';
import type { Bases } from './addresses.ts';
import { joinRuns, type WrittenWord } from './join.ts';
import { type ReadRange, type Run, runsOf } from './place-maps.ts';
import { slideOf, slidPages } from './slide.ts';

export interface Surroundings {
  readonly processor: ProcessorTraits;
  /** By index as `LinkedState.files`; undefined: neither mapped nor checked (the program, which the kernel has mapped). */
  readonly files: readonly (Omit<PlacedFile, 'isMapped'> | undefined)[];
  readonly watches: readonly PlacedWatch[];
  readonly read: ReadRange;
  /** RVAs of pages at which the kernel began another mapping of the program, ascending. */
  readonly programCuts: readonly number[];
  /** Checksum of what the program's copy begins with. */
  readonly programSum: bigint;
  readonly variant: ShareVariant;
  /** Whether each start chooses other addresses: then the bases are the lowest ones. */
  readonly slides: boolean;
  /** Files of which the image has all pages, by index. */
  readonly taken: { has(file: number): boolean };
  /** Where modules are joined: pages of one file that are copied where they follow each other (join.ts). */
  readonly mostCopied: number;
}

/** @throws RangeError where the state contradicts itself: a pointer or fix-up on no page of its own, one page twice. */
export function placeLinked(state: LinkedState, bases: Bases, around: Surroundings): PlacedImage {
  const at = ({ anchor, offset }: Place): UserAddress => userAddress(bases[anchor] + offset);
  const optional = <T extends { readonly at: Place }>(value: T | undefined) =>
    value === undefined ? undefined : { ...value, at: at(value.at) };
  const separate = runsOf(state.mappings, around.read, (file) => around.taken.has(file));
  const joins = isJoined(around.variant);
  const slid = around.slides ? slideOf(state, bases) : undefined;
  const written = joins ? writtenWords(state, around.slides) : [];
  const runs = joins ? joinRuns(separate, written, around.read, around.mostCopied) : separate;
  const pages = Pages.of(runs);
  for (const table of state.pointers) pages.addBases(table, bases);
  for (const { at: place, size } of state.fixUps) pages.clear(place, size);
  const isMapped = new Set(
    runs.flatMap(({ content, anchor }) =>
      content.kind === 'file' && anchor !== 'program' ? [content.file] : [],
    ),
  );
  const files = around.files.flatMap((file, index) =>
    file === undefined ? [] : [{ ...file, isMapped: isMapped.has(index), index }],
  );
  const indexOf = new Map(files.map(({ index }, placed) => [index, placed]));
  const { program } = state.extents;
  return {
    start: at(state.start),
    entry: at(state.entry),
    phdr: at(state.phdr),
    base: userAddress(bases.loader),
    program: {
      at: userAddress(bases.program),
      phdr: rva(state.phdr.offset),
      first: rva(program.first),
      size: program.size,
      sum: around.programSum,
    },
    threadPointer: at(state.threadPointer),
    tidAt: at(state.tidAt),
    robust: optional(state.robust),
    rseq: optional(state.rseq),
    vdsoAt: state.machine.vdso === undefined ? undefined : userAddress(bases.vdso),
    machine: state.machine,
    processor: around.processor,
    libraryPath: state.libraryPath,
    files: files.map(({ index: _, ...file }) => file),
    isJoined: joins,
    maps: ascending(runs.flatMap((run) => cutAt(mapOf(run, bases, pages, indexOf), around.programCuts))),
    fixUps: [
      ...state.fixUps.map(({ at: place, size, kind }): PlacedFixUp => ({ at: at(place), size, kind })),
      ...state.pointers.flatMap((table) => pointersIntoVdso(table, bases)),
      ...(slid?.odd ?? []),
    ].sort((a, b) => a.at - b.at),
    watches: around.watches,
    slide: slid?.slide,
    pages: pages.bytes,
  };
}

function writtenWords({ fixUps, pointers }: LinkedState, slides: boolean): WrittenWord[] {
  const vdso = ANCHORS.indexOf('vdso');
  const intoVdso = ({ standsIn, at, into }: Pointers): WrittenWord[] =>
    [...at].flatMap((offset, index) =>
      into[index] === vdso ? [{ at: { anchor: standsIn, offset }, size: 8 }] : [],
    );
  const sliding = slides ? pointers.flatMap(slidPages) : [];
  return [...fixUps, ...pointers.flatMap(intoVdso), ...sliding.map((at): WrittenWord => ({ at, size: 8 }))];
}

/** Written where the vDSO stays where the kernel puts it: for few pages that costs less than to move it (restore-move.c). */
function pointersIntoVdso({ standsIn, at, into }: Pointers, bases: Bases): PlacedFixUp[] {
  const vdso = ANCHORS.indexOf('vdso');
  return [...at].flatMap((offset, index): PlacedFixUp[] =>
    into[index] === vdso ? [{ at: userAddress(bases[standsIn] + offset), size: 8, kind: 'in-vdso' }] : [],
  );
}

function mapOf(run: Run, bases: Bases, pages: Pages, indexOf: ReadonlyMap<number, number>): PlacedMap {
  const { anchor, offset, size, protection, content } = run;
  const at = userAddress(bases[anchor] + offset);
  if (content.kind === 'zeros') return { at, size, protection, source: { kind: 'zeros' } };
  if (content.kind === 'pages')
    return { at, size, protection, source: { kind: 'pages', offset: pages.offsetOf(run) } };
  // The kernel has mapped the program already, by whatever name it was started.
  if (anchor === 'program') return { at, size, protection, source: { kind: 'program', rva: rva(offset) } };
  const index = indexOf.get(content.file);
  if (index === undefined) throw new RangeError('a mapping of a file that is not known');
  return { at, size, protection, source: { kind: 'file', index, offset: content.offset } };
}

/** Once the loader has made them read-only, pages of two segments are one mapping; to the launcher they come as two. */
function cutAt(map: PlacedMap, cuts: readonly number[]): PlacedMap[] {
  const { source } = map;
  if (source.kind !== 'program') return [map];
  const starts = [source.rva, ...cuts.filter((cut) => cut > source.rva && cut < source.rva + map.size)];
  return starts.map((start, index) => {
    const before = start - source.rva;
    const size = (starts[index + 1] ?? source.rva + map.size) - start;
    return { ...map, at: userAddress(map.at + before), size, source: { kind: 'program', rva: rva(start) } };
  });
}

function ascending(maps: PlacedMap[]): PlacedMap[] {
  // An area is in front of what lies over it.
  return maps.sort((a, b) => a.at - b.at || b.size - a.size);
}

/** The pages of the image, in the order of their addresses, and where each stands. */
class Pages {
  readonly bytes: Buffer;
  /** For each anchor, from a page's number to where its bytes stand. */
  readonly #at: ReadonlyMap<Anchor, ReadonlyMap<number, number>>;

  private constructor(bytes: Buffer, at: ReadonlyMap<Anchor, ReadonlyMap<number, number>>) {
    this.bytes = bytes;
    this.#at = at;
  }

  static of(runs: readonly Run[]): Pages {
    const at = new Map(ANCHORS.map((anchor) => [anchor, new Map<number, number>()]));
    const parts: Buffer[] = [];
    for (const { anchor, offset, content } of runs) {
      if (content.kind !== 'pages') continue;
      content.pages.forEach((page, index) => {
        if (at.get(anchor)?.has(offset / PAGE_SIZE + index)) throw new RangeError('mappings overlap');
        at.get(anchor)?.set(offset / PAGE_SIZE + index, parts.length * PAGE_SIZE);
        parts.push(page);
      });
    }
    return new Pages(Buffer.concat(parts), at);
  }

  offsetOf({ anchor, offset }: Run): number {
    return this.#byte(anchor, offset);
  }

  #byte(anchor: Anchor, offset: number): number {
    const page = this.#at.get(anchor)?.get(Math.floor(offset / PAGE_SIZE));
    if (page === undefined)
      throw new RangeError(`the image has no page for ${anchor}+0x${offset.toString(16)}`);
    return page + (offset % PAGE_SIZE);
  }

  addBases({ standsIn, at, into }: Pointers, bases: Bases): void {
    const halves = ANCHORS.map((anchor) => [bases[anchor] % 2 ** 32, Math.floor(bases[anchor] / 2 ** 32)]);
    for (let i = 0; i < at.length; i += 1) {
      const [low, high] = halves[into[i] ?? -1] ?? [];
      const offset = at[i];
      if (low === undefined || high === undefined || offset === undefined)
        throw new RangeError('a pointer into no anchor');
      this.#add(standsIn, offset, low, high);
    }
  }

  /** Adds to the word of 8 bytes there. */
  #add(anchor: Anchor, offset: number, low: number, high: number): void {
    const { bytes } = this;
    if ((offset % PAGE_SIZE) + 8 <= PAGE_SIZE) {
      const at = this.#byte(anchor, offset);
      const sum = bytes.readUInt32LE(at) + low;
      bytes.writeUInt32LE(sum % 2 ** 32, at);
      const carry = sum >= 2 ** 32 ? 1 : 0;
      bytes.writeUInt32LE((bytes.readUInt32LE(at + 4) + high + carry) % 2 ** 32, at + 4);
      return;
    }
    // It goes on on another page, which may stand elsewhere.
    let carry = 0;
    for (let i = 0; i < 8; i += 1) {
      const at = this.#byte(anchor, offset + i);
      const part = Math.floor((i < 4 ? low : high) / 2 ** (8 * (i % 4))) % 256;
      const sum = (bytes[at] ?? 0) + part + carry;
      bytes[at] = sum % 256;
      carry = sum >= 256 ? 1 : 0;
    }
  }

  clear({ anchor, offset }: Place, size: number): void {
    for (let i = 0; i < size; i += 1) this.bytes[this.#byte(anchor, offset + i)] = 0;
  }
}
