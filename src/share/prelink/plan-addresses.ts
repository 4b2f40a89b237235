/**
 * Gives each library a place in memory.
 *
 * Problem: the places must be free in every process of the program: not the kernel's for programs (0x55...), stacks and
 * mappings (0x7f..., from 42.7 TiB on where the stack is unlimited), nor those of programs at fixed addresses and their
 * heaps, and no two may overlap.
 * Example: `by name`, 16 bits: libz.so.1 hashes to 0x1626 and has that one of the 2 GiB places, in every program; the second of
 * two that hash to one place gets the next that is free. `side by side`: one behind the other from an address on.
 * Method: only addresses from 64 GiB to 42 TiB are given; a hash is taken modulo these places. A library with p_align above a page gets room for as much again,
 * as the loader asks for that much before it aligns.
 * Limits: whoever maps memory there (sanitizers do) takes the place away; that is seen at the start only.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import { alignOf, type HasSegments, pagesOf } from '../notes/layouts.ts';
import { nameHash } from '../notes/name-hash.ts';

export type AddressScheme =
  | { readonly how: 'by name'; readonly bits: number }
  /** @param from a multiple of 2 MiB within the range. */
  | { readonly how: 'side by side'; readonly from: number };

/** What a place is for. */
export interface Placed {
  readonly name: string;
  readonly image: HasSegments;
}

export interface AddressPlan<M> {
  /** What is added to a module's RVAs. */
  readonly bases: ReadonlyMap<M, number>;
  /** Modules that did not get the place that their name says, with the module that has it. */
  readonly moved: readonly (readonly [M, M])[];
  /** Modules for which there was none. */
  readonly without: readonly M[];
}

export const FIRST_ADDRESS = 2 ** 36;
export const END_OF_ADDRESSES = 42 * 2 ** 40;

interface Taken<M> {
  readonly start: number;
  readonly end: number;
  readonly module: M;
}

export function planAddresses<M extends Placed>(
  modules: readonly M[],
  scheme: AddressScheme,
): AddressPlan<M> {
  const bases = new Map<M, number>();
  const moved: (readonly [M, M])[] = [];
  const without: M[] = [];
  const taken: Taken<M>[] = [];
  for (const module of modules) {
    const wanted = wantedPlace(module, scheme, taken);
    const found = freePlace(module, wanted, taken, stepOf(scheme));
    if (found === undefined) {
      without.push(module);
      continue;
    }
    if (found.other !== undefined && scheme.how === 'by name') moved.push([module, found.other]);
    taken.push({ start: found.start, end: found.start + roomFor(module), module });
    bases.set(module, found.start - pagesOf(module.image).first);
  }
  return { bases, moved, without };
}

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** What the loader maps before it aligns (_dl_map_segment). */
function roomFor({ image }: Placed): number {
  const { first, end } = pagesOf(image);
  const align = alignOf(image);
  const span = end - first;
  if (align <= PAGE_SIZE) return span;
  return span >= align ? span + align : 2 * align;
}

/** So that p_vaddr stays congruent to p_offset, the first page keeps its place within the alignment. */
function aligned(module: Placed, at: number): number {
  const align = alignOf(module.image);
  return roundUp(at - pagesOf(module.image).first, align) + pagesOf(module.image).first;
}

const placeSize = (bits: number): number => 2 ** (47 - bits);
const stepOf = (scheme: AddressScheme): number => (scheme.how === 'by name' ? placeSize(scheme.bits) : 0);

function wantedPlace(module: Placed, scheme: AddressScheme, taken: readonly Taken<Placed>[]): number {
  if (scheme.how === 'side by side') return taken.at(-1)?.end ?? scheme.from;
  const size = placeSize(scheme.bits);
  const first = Math.ceil(FIRST_ADDRESS / size);
  const places = Math.floor(END_OF_ADDRESSES / size) - first;
  return (first + (nameHash(module.name, scheme.bits) % places)) * size;
}

/** The first free place from `wanted` on, in steps; `other` has the wanted one. Goes on at the range's beginning. */
function freePlace<M extends Placed>(
  module: M,
  wanted: number,
  taken: readonly Taken<M>[],
  step: number,
): { readonly start: number; readonly other?: M } | undefined {
  const room = roomFor(module);
  let other: M | undefined;
  let at = wanted;
  for (let tries = 0; tries <= 2 * taken.length + 2; tries++) {
    const start = aligned(module, at);
    const end = start + room;
    const hit = taken.find((one) => start < one.end && one.start < end);
    if (hit === undefined && start >= FIRST_ADDRESS && end <= END_OF_ADDRESSES)
      return other === undefined ? { start } : { start, other };
    other ??= hit?.module;
    if (hit === undefined) at = FIRST_ADDRESS;
    else at = step === 0 ? hit.end : roundUp(Math.max(hit.end, at + 1), step);
  }
  return undefined;
}
