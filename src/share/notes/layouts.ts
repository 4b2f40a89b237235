/** Where modules could lie: addresses to try a solution on, without a process. */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { ElfImage } from '../../elf/image.ts';
import * as spec from '../../elf/spec.ts';
import type { ClosureModule } from '../closure/modules.ts';
import { nameHash } from './name-hash.ts';

/** What is added to a module's RVAs. */
export type Layout = ReadonlyMap<ClosureModule, number>;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;
const ARENA_START = 0x7f00_0000_0000;
const PIE_START = 0x5555_5555_4000;
const HEAP_ROOM = 2 ** 28;

export type HasSegments = Pick<ElfImage, 'segments'>;

/** The first page of a module's PT_LOADs, and the end of the last, as RVAs. */
export function pagesOf({ segments }: HasSegments): { readonly first: number; readonly end: number } {
  const loads = segments.filter(({ type, memSize }) => type === spec.PT_LOAD && memSize > 0);
  const first = loads.reduce((low, { rva }) => Math.min(low, rva), loads[0]?.rva ?? 0);
  const end = loads.reduce((high, { rva, memSize }) => Math.max(high, rva + memSize), 0);
  return { first: Math.floor(first / PAGE_SIZE) * PAGE_SIZE, end: roundUp(end, PAGE_SIZE) };
}

/** Bytes from the first page of the PT_LOADs to the end of the last. */
export function spanOf(image: HasSegments): number {
  const { first, end } = pagesOf(image);
  return end - first;
}

export const alignOf = ({ segments }: HasSegments): number =>
  segments.reduce(
    (most, { type, align }) => (type === spec.PT_LOAD ? Math.max(most, align) : most),
    PAGE_SIZE,
  );

/** As the kernel and the loader lay them: the program by itself, all others side by side. */
export function todaysLayout(modules: readonly ClosureModule[]): Layout {
  const layout = new Map<ClosureModule, number>();
  let next = ARENA_START;
  for (const module of modules) {
    const { header } = module.image;
    if (module.role === 'program') {
      layout.set(module, header.type === spec.ET_EXEC ? 0 : PIE_START);
      continue;
    }
    next = roundUp(next, alignOf(module.image));
    layout.set(module, next);
    next += spanOf(module.image);
  }
  return layout;
}

/** Each where its name hashes to (solution 3). */
export function hashedLayout(modules: readonly ClosureModule[], bits: number): Layout {
  const placeSize = 2 ** (47 - bits);
  return new Map(modules.map((module) => [module, nameHash(module.name, bits) * placeSize]));
}

/** All of them side by side, the program too: one image (solution 1). One at fixed addresses has the others behind its heap. */
export function oneImageLayout(modules: readonly ClosureModule[]): Layout {
  const layout = new Map<ClosureModule, number>();
  let next = ARENA_START;
  for (const module of modules) {
    const { image } = module;
    if (image.header.type === spec.ET_EXEC) {
      layout.set(module, 0);
      next = pagesOf(image).end + HEAP_ROOM;
      continue;
    }
    next = roundUp(next, alignOf(image));
    layout.set(module, next);
    next += spanOf(image);
  }
  return layout;
}
