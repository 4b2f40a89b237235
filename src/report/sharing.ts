/**
 * The systems and solutions of the notes on sharing code, for one program: the model behind `winnow report --sharing`.
 *
 * Problem: "prelinking saves relocation", "hashed dispatchers save tables" say little of a given program.
 * Example: inkscape has 426,000 relocations on 1,463 pages; prelinked, 1,519 on 210 pages would be left.
 * Method: what runs on this machine is measured; what nobody ships is computed from the program's own modules
 * (src/share/notes), and says so. A figure that is neither has a reason.
 * Limits: modules that are opened later are not seen. Costs of calls are those of the machine they were measured on.
 */

import type { ShareVariant } from '../share/model.ts';
import { type CallWay, callCost } from '../share/notes/call-costs.ts';
import { allRelocations } from '../share/notes/count-relocations.ts';
import type { SharingFigures } from '../share/notes/figures.ts';
import type { Written } from '../share/notes/prelinked.ts';
import type { StartCost } from '../sys/start-cost.ts';

/** The version of the JSON form (docs/formats.md). */
export const SHARING_JSON_VERSION = 1;

export type Figure =
  | {
      /** `reference`: measured by `npm run bench:call-cost`, on another machine. */
      readonly kind: 'measured' | 'computed' | 'reference';
      readonly value: number;
    }
  | { readonly kind: 'missing'; readonly reason: string };

export interface SharingRow {
  /** `system 1`, `solution 3`, as the notes number them. */
  readonly id: string;
  readonly what: string;
  /** 4 KiB pages of modules that are private to a process when its own code begins. */
  readonly privatePages: Figure;
  readonly mappings: Figure;
  /** Applied at a start. */
  readonly relocations: Figure;
  /** From execve until everything is mapped and relocated. */
  readonly startMs: Figure;
  readonly callNs: Figure;
  /** What is still placed at random. */
  readonly aslr: string;
  /** What has to be done when a library was updated. */
  readonly update: string;
}

export interface Starts {
  readonly plain: readonly StartCost[];
  /** With LD_BIND_NOW; taken in turn with the plain ones. */
  readonly bindNow: readonly StartCost[];
  /** With libraries at planned addresses and all relocations applied that can be; places, files and modules are checked. */
  readonly checked: MaybeStarts;
  /** The same without a check. */
  readonly prelinked: MaybeStarts;
  /** The same with references bound at each start. */
  readonly slid: MaybeStarts;
  /** The same with references applied, and all that leads into the module itself relocated at each start. */
  readonly bound: MaybeStarts;
  /** From an image after relocation. */
  readonly image: MaybeStarts;
  /** From one whose start relocates all its pages to other addresses. */
  readonly slidImage: MaybeStarts;
}

/** Or why there are none. */
export type MaybeStarts = readonly StartCost[] | { readonly missing: string };

export interface VariantFigures {
  readonly variant: ShareVariant;
  /** Of the image on disk, without holes. */
  readonly diskBytes: number;
  /** Code and constants of libraries that stand in the image, and in the libraries' files for other programs. */
  readonly copiedBytes: number;
  /** Constants and relocated data that can be executed, and could not by themselves. */
  readonly executableBytes: number;
  readonly mappings: number;
  /** From execve until all is mapped; a median. */
  readonly startMs: number;
}

export type MaybeVariants = readonly VariantFigures[] | { readonly missing: string };

export interface SharingInput {
  readonly command: readonly string[];
  readonly figures: SharingFigures;
  readonly starts: Starts | { readonly missing: string };
  /** Of the image that was measured: where its libraries are. */
  readonly libraries?: string | undefined;
  /** Of images after relocation. */
  readonly variants: MaybeVariants;
}

export interface SharingReport {
  readonly command: readonly string[];
  readonly rounds: number;
  /** Of the image that was measured: where its libraries are. */
  readonly libraries?: string | undefined;
  readonly rows: readonly SharingRow[];
  readonly variants: MaybeVariants;
  readonly figures: SharingFigures;
}

export function sharingReport({
  command,
  figures,
  starts,
  libraries,
  variants,
}: SharingInput): SharingReport {
  const all = 'missing' in starts ? undefined : starts;
  const cells = (of: (all: Starts) => MaybeStarts): StartCells =>
    cellsOf(all === undefined ? { missing: 'missing' in starts ? starts.missing : '' } : of(all));
  return {
    command,
    rounds: all?.plain.length ?? 0,
    ...(libraries === undefined ? {} : { libraries }),
    rows: rowsOf(figures, {
      plain: cells(({ plain }) => plain),
      bindNow: cells(({ bindNow }) => bindNow),
      checked: cells(({ checked }) => checked),
      prelinked: cells(({ prelinked }) => prelinked),
      slid: cells(({ slid }) => slid),
      bound: cells(({ bound }) => bound),
      image: cells(({ image }) => image),
      slidImage: cells(({ slidImage }) => slidImage),
    }),
    variants,
    figures,
  };
}

type StartCells = Pick<SharingRow, 'privatePages' | 'mappings' | 'startMs'>;

const computed = (value: number): Figure => ({ kind: 'computed', value });
const measured = (value: number): Figure => ({ kind: 'measured', value });
const missing = (reason: string): Figure => ({ kind: 'missing', reason });

function cellsOf(starts: MaybeStarts): StartCells {
  if ('missing' in starts) return unmeasured(starts.missing);
  const of = (value: (start: StartCost) => number): Figure => measured(median(starts.map(value)));
  return {
    privatePages: of(({ privateFilePages }) => privateFilePages),
    mappings: of(({ mappings }) => mappings),
    startMs: of(({ execNs, linkNs }) => (execNs + linkNs) / 1e6),
  };
}

/** The upper one of two middles: a count stays a count. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

const unmeasured = (reason: string): StartCells => ({
  privatePages: missing(reason),
  mappings: missing(reason),
  startMs: missing(reason),
});

interface Measured {
  readonly plain: StartCells;
  readonly bindNow: StartCells;
  readonly checked: StartCells;
  readonly prelinked: StartCells;
  readonly slid: StartCells;
  readonly bound: StartCells;
  readonly image: StartCells;
  readonly slidImage: StartCells;
}

const NOT_BUILT = 'there is none to be started';
const ASLR_ALL = 'as the kernel has it';
const ASLR_PLANNED = 'program, loader and stack; libraries stay where they were planned';
const ASLR_IMAGE = 'stack, heap and vDSO; modules stay at the random places they were built for';
const NOTHING_TO_DO = 'nothing: seen at the next start';
const BUILD_AGAIN = 'built again for each program that uses it; plain modules until then';

function rowsOf(
  figures: SharingFigures,
  { plain, bindNow, checked, prelinked: copies, slid, bound, image, slidImage }: Measured,
): SharingRow[] {
  const { prelinked, addressTables, hashedDispatcher, dispatcherPages } = figures;
  const all = computed(allRelocations(figures.relocations));
  const today = call(figures.relocations.jumpSlot > 0 ? 'plt' : 'got');
  /** Nothing but addresses changes: as many mappings as today. */
  const mappings: Figure =
    plain.mappings.kind === 'measured' ? computed(plain.mappings.value) : plain.mappings;
  const left = ({ relocations, pages }: Written) => ({
    privatePages: computed(pages),
    relocations: computed(relocations),
    mappings,
  });
  /** Measured, or what can be computed of it. */
  const planned = (starts: StartCells, written: Written): StartCells & Pick<SharingRow, 'relocations'> =>
    starts.startMs.kind === 'missing'
      ? { ...left(written), startMs: starts.startMs }
      : { ...left(written), ...starts };
  const bits = 47 - addressTables.moduleBits - addressTables.slotBits;
  return [
    {
      id: 'system 1',
      what: 'position-independent code and tables (today)',
      ...plain,
      relocations: all,
      callNs: today,
      aslr: ASLR_ALL,
      update: NOTHING_TO_DO,
    },
    {
      id: 'system 1',
      what: 'the same, everything bound at the start (LD_BIND_NOW)',
      ...bindNow,
      relocations: all,
      callNs: today,
      aslr: ASLR_ALL,
      update: NOTHING_TO_DO,
    },
    {
      id: 'system 2',
      what: 'prelinked where the places are free, plain modules where not',
      ...planned(checked, prelinked.left),
      callNs: today,
      aslr: ASLR_PLANNED,
      update: BUILD_AGAIN,
    },
    {
      id: 'system 3',
      what: 'at planned places, relocated at the start where one is taken',
      ...planned(slid, prelinked.leftWithoutRelative),
      callNs: today,
      aslr: ASLR_PLANNED,
      update: 'it alone is moved to its place again',
    },
    {
      id: 'system 4',
      what: 'relocated page by page when touched: at most',
      privatePages: computed(figures.relocatedPages),
      mappings,
      // An image with --slide adds to all its pages at the start what this would add to those that are touched.
      ...(slidImage.startMs.kind === 'measured' ? slidImage : { startMs: slidImage.startMs }),
      relocations: all,
      callNs: today,
      aslr: ASLR_ALL,
      update: NOTHING_TO_DO,
    },
    {
      id: 'system 5',
      what: 'prelinked without a check',
      ...planned(copies, prelinked.left),
      callNs: today,
      aslr: 'none for libraries',
      update: 'everything linked to it, at once, or it crashes',
    },
    {
      id: 'system 6',
      what: 'relocated when installed: an image after relocation',
      ...image,
      relocations: image.startMs.kind === 'measured' ? measured(0) : image.startMs,
      callNs: today,
      aslr: ASLR_IMAGE,
      update: BUILD_AGAIN,
    },
    {
      id: 'system 7',
      what: 'a central dispatcher for every call between modules: without its own work',
      ...left(prelinked.relativeAlone),
      // There is no dispatcher to be started: what is measured finds, maps and relocates, and has nothing to bind.
      startMs: bound.startMs.kind === 'measured' ? computed(bound.startMs.value) : bound.startMs,
      callNs: call('dispatcher'),
      aslr: ASLR_ALL,
      update: NOTHING_TO_DO,
    },
    {
      id: 'solution 1',
      what: 'one image file with all modules',
      ...image,
      relocations: image.startMs.kind === 'measured' ? measured(0) : image.startMs,
      callNs: today,
      aslr: ASLR_IMAGE,
      update: BUILD_AGAIN,
    },
    {
      id: 'solution 2',
      what: 'the place of the table in the address of the code',
      privatePages: computed(addressTables.pages),
      mappings,
      relocations: computed(addressTables.slots),
      startMs: missing(NOT_BUILT),
      callNs: call('slot'),
      aslr: addressTables.fits ? `${bits} bits of an address` : 'none: the address has too few bits',
      update: NOTHING_TO_DO,
    },
    {
      id: 'solution 3',
      what: 'prelinked at the place that the name hashes to',
      ...planned(copies, prelinked.left),
      callNs: today,
      aslr: 'none for libraries: the same on every host',
      update: BUILD_AGAIN,
    },
    {
      id: 'solution 4',
      what: 'one table for all imports, indexed by hash',
      privatePages: computed(hashedDispatcher.pagesTouched),
      mappings,
      relocations: computed(hashedDispatcher.imports),
      startMs: missing(NOT_BUILT),
      callNs: call('slot'),
      aslr: ASLR_ALL,
      update: NOTHING_TO_DO,
    },
    {
      id: 'solution 5',
      what: 'a page of jumps in front of each module',
      privatePages: computed(dispatcherPages.pages),
      mappings,
      relocations: computed(dispatcherPages.stubs + dispatcherPages.words),
      startMs: missing(NOT_BUILT),
      callNs: call('direct-plt'),
      aslr: 'all modules within 2 GiB of each other',
      update: NOTHING_TO_DO,
    },
  ];
}

const call = (way: CallWay): Figure => ({ kind: 'reference', value: callCost(way) });
