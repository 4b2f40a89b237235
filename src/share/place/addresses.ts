/**
 * Addresses for an image, at random.
 *
 * Problem. What is linked holds addresses, so they are chosen when the image is built, and every start of the image has
 * the same ones. They must be free at every start, wherever the kernel puts stack, heap, vDSO and mappings this time,
 * and nobody who has not seen the image should be able to guess them.
 *
 * Method. The kernel puts programs from 0x5555_5555_4000 to 0x5655_5555_4000 with their heap behind, mappings and stack
 * above 0x7e00_0000_0000, and what asks for fixed addresses (programs that are no PIE, sanitizers' shadows, Go's heap,
 * V8's and Java's compressed pointers) mostly below 0x1100_0000_0000. Between lie 75 TB. The program gets a place in
 * their lower part, all else in the upper one: so the program lies below the rest, as it always does. With an unlimited stack
 * mappings and the vDSO, which the loader has above all else, lie between 0x1455_5555_5000 and 0x1555_5555_5000, or begin between
 * 0x2aaa_aaaa_b000 and 0x2baa_aaaa_b000 (older kernels): then all lies below. What the loader mapped and the loader lie near
 * each other with random gaps: page tables cover 1 GiB for a page, and the kernel puts them side by side too.
 *
 * An image whose addresses slide (slide.ts) has the lowest ones of these ranges, and each start chooses from there on, by pages: 32
 * random bits, 28 with an unlimited stack; the kernel has 28. Where a module wants a larger alignment, by that: 23 bits of 2 MiB.
 *
 * Limits. Where they do not slide: 23 and 24 random bits of 2 MiB for the program and the rest, 19 with an unlimited stack, where the
 * kernel has 28 of 4 KiB at each start.
 */
import { randomInt } from 'node:crypto';
import { PAGE_SIZE } from '../../base/brands.ts';
import type { SlideRange } from '../linked/linked-model.ts';
import type { Anchor, AnchorExtent, LinkedState } from '../model.ts';

/** Address of each anchor's base: all offsets count from it. */
export type Bases = Readonly<Record<Anchor, number>>;

interface Range {
  readonly from: number;
  readonly to: number;
}
export const PROGRAM_RANGE: Range = { from: 0x1600_0000_0000, to: 0x2a00_0000_0000 };
export const ARENA_RANGE: Range = { from: 0x3100_0000_0000, to: 0x5000_0000_0000 };
const LOW_PROGRAM_RANGE: Range = { from: 0x1100_0000_0000, to: 0x1280_0000_0000 };
const LOW_ARENA_RANGE: Range = { from: 0x1280_0000_0000, to: 0x1400_0000_0000 };
/** Up to such a stack mappings stay above ARENA_RANGE. */
const LARGE_STACK = 1n << 44n;

const HUGE_PAGE = 2 ** 21;
const MOST_GAP_HUGE_PAGES = 64;
const MOST_GAP_PAGES = 4096;

/** A whole number from 0 to `end` - 1. */
export type Random = (end: number) => number;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;
const unitOf = ({ align }: AnchorExtent): number => Math.max(align, HUGE_PAGE);
const endOf = (base: number, { first, size }: AnchorExtent): number => base + first + size;

type Extents = Pick<LinkedState, 'extents' | 'machine'>;

const rangesOf = ({ machine }: Extents): { readonly program: Range; readonly arena: Range } =>
  machine.stackLimit > LARGE_STACK
    ? { program: LOW_PROGRAM_RANGE, arena: LOW_ARENA_RANGE }
    : { program: PROGRAM_RANGE, arena: ARENA_RANGE };

/**
 * @param slides the lowest, for an image whose starts choose; distances within it are at random all the same.
 * @throws RangeError where something is larger than the ranges.
 */
export function chooseBases(
  state: Extents,
  random: Random = (end) => randomInt(end),
  { slides = false }: { readonly slides?: boolean } = {},
): Bases {
  const { extents, machine } = state;
  const { program, arena, loader } = extents;
  const ranges = rangesOf(state);
  const choose: Random = slides ? () => 0 : random;
  const programBase =
    program.fixedAt ?? within(ranges.program, program, choose, program.first + program.size);
  const lead = machine.vdso === undefined ? 0 : machine.vdso.lead;
  const vdsoSize = lead + (machine.vdso?.size ?? 0);
  const gap = (unit: number): number => (1 + random(MOST_GAP_HUGE_PAGES)) * unit;
  const room =
    arena.size + loader.size + vdsoSize + (MOST_GAP_HUGE_PAGES + 2) * (unitOf(arena) + unitOf(loader));
  const arenaBase = arena.fixedAt ?? within(ranges.arena, arena, choose, room + MOST_GAP_PAGES * PAGE_SIZE);
  const loaderUnit = unitOf(loader);
  const loaderBase =
    loader.fixedAt ?? roundUp(endOf(arenaBase, arena), loaderUnit) + gap(loaderUnit) - loaderUnit;
  const vdso =
    roundUp(endOf(loaderBase, loader), PAGE_SIZE) + (1 + random(MOST_GAP_PAGES)) * PAGE_SIZE + lead;
  return { program: programBase, arena: arenaBase, loader: loaderBase, vdso };
}

/** How far what is placed at the lowest addresses may slide: to the ends of the ranges. */
export function slideRanges(
  state: Extents,
  bases: Bases,
): { readonly program: SlideRange; readonly rest: SlideRange } {
  const { program, arena, loader } = state.extents;
  const ranges = rangesOf(state);
  const places = (end: number, last: number, unit: number): number => 1 + Math.floor((end - last) / unit);
  const unit = Math.max(PAGE_SIZE, arena.align, loader.align);
  const own = Math.max(PAGE_SIZE, program.align);
  return {
    program: {
      unit: own,
      places:
        program.fixedAt === undefined ? places(ranges.program.to, endOf(bases.program, program), own) : 1,
    },
    rest: { unit, places: places(ranges.arena.to, endOf(bases.loader, loader), unit) },
  };
}

/** A multiple of the anchor's unit in the range, with `room` bytes behind it. */
function within({ from, to }: Range, extent: AnchorExtent, random: Random, room: number): number {
  const unit = unitOf(extent);
  const first = roundUp(from, unit);
  const places = Math.floor((to - room - first) / unit);
  if (places < 1) throw new RangeError('larger than the range of addresses');
  return first + random(places) * unit;
}
