/** Says where a word stands, for people: the module, and the symbol before it. */
import { basename } from 'node:path';
import { readElfFile } from '../../elf/read.ts';
import type { ElfSymbol } from '../../elf/symbols.ts';
import type { Anchor } from '../model.ts';
import type { AnchorBases } from './anchors.ts';
import { extentOf, segmentsAt } from './headers-in-memory.ts';
import type { StoppedLoader } from './loader-run.ts';
import type { Region } from './regions.ts';

/** Where modules begin, and what they are called. */
export interface ModulePlace {
  readonly anchor: Exclude<Anchor, 'vdso'>;
  /** Load bias, as an offset from the anchor's base; and up to where it reaches. */
  readonly bias: number;
  readonly first: number;
  readonly end: number;
  readonly path: string;
}

export class Whereabouts {
  readonly #modules: readonly ModulePlace[];
  readonly #symbols = new Map<string, readonly ElfSymbol[]>();

  constructor(modules: readonly ModulePlace[]) {
    this.#modules = modules;
  }

  /** `_rtld_global+0x20 in libc.so.6`; `0x1f40 in libfoo.so` where no symbol is near. */
  describe(anchor: Anchor, offset: number): string {
    const module = this.#modules.find(
      ({ anchor: its, first, end }) => its === anchor && first <= offset && offset < end,
    );
    if (module === undefined) return `memory of the loader's own, 0x${offset.toString(16)} in the ${anchor}`;
    const at = offset - module.bias;
    const name = basename(module.path);
    const symbol = this.#symbolBefore(module.path, at);
    if (symbol === undefined) return `0x${at.toString(16)} in ${name}`;
    const distance = at - Number(symbol.value);
    return `${symbol.name}${distance === 0 ? '' : `+0x${distance.toString(16)}`} in ${name}`;
  }

  #symbolBefore(path: string, at: number): ElfSymbol | undefined {
    let best: ElfSymbol | undefined;
    for (const symbol of this.#symbolsOf(path)) {
      if (symbol.rva === undefined || symbol.name === '' || symbol.rva > at) continue;
      if (best?.rva === undefined || symbol.rva > best.rva) best = symbol;
    }
    return best;
  }

  #symbolsOf(path: string): readonly ElfSymbol[] {
    let symbols = this.#symbols.get(path);
    if (symbols === undefined) {
      symbols = readSymbols(path);
      this.#symbols.set(path, symbols);
    }
    return symbols;
  }
}

/** A file whose tables are damaged has been linked all the same: it has no symbols for us. */
function readSymbols(path: string): readonly ElfSymbol[] {
  try {
    const image = readElfFile(path);
    return [...image.symbols, ...image.staticSymbols];
  } catch {
    return [];
  }
}

/** The modules of a stopped run, by the ELF headers that its mappings begin with. */
export function modulesOf(
  run: StoppedLoader,
  bases: AnchorBases,
  regions: readonly Region[],
): readonly ModulePlace[] {
  return regions.flatMap(({ anchor, offset, source, protection }) => {
    if (source === undefined || source.offset !== 0 || !protection.read) return [];
    const segments = segmentsAt(run.memory, bases[anchor] + offset);
    if (segments.length === 0) return [];
    const { first, end } = extentOf(segments);
    const bias = offset - first;
    return [{ anchor, bias, first: offset, end: bias + end, path: source.path }];
  });
}
