/**
 * Solution 5: a page of jumps right in front of each module.
 *
 * Problem: a call through the PLT reads an address from a table; a direct jump reads nothing.
 * Example: libz imports 30 functions: 30 stubs `jmp rel32`, 8 bytes each, on one private page in front of its
 * code, which stays shared as the stubs are always at the same distance.
 * Method: stubs for the functions that a module imports, words for the data; a stub reaches 2 GiB up and down, so it is
 * asked for each under which layouts the target is near enough.
 * Limits: what is far needs `jmp *slot` (6 bytes and a word of 8), which is the PLT again.
 */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { ClosureModule } from '../closure/modules.ts';
import type { Import, ModuleImports } from './imports.ts';
import { hashedLayout, type Layout, oneImageLayout, pagesOf, todaysLayout } from './layouts.ts';

/** `jmp rel32` takes 5; each stands in one word, so that it can be changed in one write. */
export const STUB_SIZE = 8;
const WORD_SIZE = 8;
const REACH = 2 ** 31;

export interface DispatcherPages {
  /** Stubs of all modules, and words for data. */
  readonly stubs: number;
  readonly words: number;
  readonly bytes: number;
  /** 4 KiB pages, at least one for each module that imports anything. */
  readonly pages: number;
  /** By layout: stubs whose target is within 2 GiB. */
  readonly near: readonly { readonly layout: string; readonly stubs: number }[];
}

export function dispatcherPages(modules: readonly ModuleImports[]): DispatcherPages {
  const stubsOf = (imports: readonly Import[]): number => imports.filter(({ isCode }) => isCode).length;
  const sizes = modules.map(({ imports }) => {
    const stubs = stubsOf(imports);
    return {
      stubs,
      words: imports.length - stubs,
      bytes: stubs * STUB_SIZE + (imports.length - stubs) * WORD_SIZE,
    };
  });
  const sum = (of: (size: (typeof sizes)[number]) => number): number =>
    sizes.reduce((total, size) => total + of(size), 0);
  const all = modules.map(({ module }) => module);
  const layouts: readonly (readonly [string, Layout])[] = [
    ['today', todaysLayout(all)],
    ['by hash, 16 bits', hashedLayout(all, 16)],
    ['by hash, 19 bits', hashedLayout(all, 19)],
    ['one image', oneImageLayout(all)],
  ];
  return {
    stubs: sum(({ stubs }) => stubs),
    words: sum(({ words }) => words),
    bytes: sum(({ bytes }) => bytes),
    pages: sum(({ bytes }) => Math.ceil(bytes / PAGE_SIZE)),
    near: layouts.map(([layout, at]) => ({ layout, stubs: countNear(modules, at) })),
  };
}

function countNear(modules: readonly ModuleImports[], layout: Layout): number {
  const addressOf = (module: ClosureModule, rva: number): number => (layout.get(module) ?? 0) + rva;
  let near = 0;
  for (const { module, imports } of modules) {
    // The page ends where the module begins.
    const stub = addressOf(module, pagesOf(module.image).first) - PAGE_SIZE;
    for (const { isCode, definition } of imports) {
      if (!isCode) continue;
      const target = addressOf(definition.module, definition.symbol.rva ?? 0);
      if (Math.abs(target - stub) < REACH - PAGE_SIZE) near++;
    }
  }
  return near;
}
