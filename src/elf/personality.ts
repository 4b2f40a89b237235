/** Which routine the unwinder asks about a function: it alone knows what the language-specific data area says. */
import { type Rva, rva } from '../base/brands.ts';
import { DW_EH_PE_indirect } from './dwarf.ts';
import type { Cie } from './eh-records.ts';
import type { ElfImage } from './image.ts';
import { lazy } from './lazy.ts';
import * as spec from './spec.ts';

/**
 * Names the routines of a module's CIEs: by the relocation that fills a CIE's slot, or by a symbol at the address.
 * Undefined: there is none, or nothing names it.
 */
export class Personalities {
  readonly #image: ElfImage;

  constructor(image: ElfImage) {
    this.#image = image;
  }

  nameOf({ personality }: Cie): string | undefined {
    if (personality === undefined) return undefined;
    const { encoding, target } = personality;
    const isSlot = (encoding & DW_EH_PE_indirect) !== 0;
    return isSlot ? this.#slots().get(target) : this.#functions().get(target);
  }

  /** Where it stands in the module, if it is the module's own; undefined where that is not told. */
  routineOf({ personality }: Cie): Rva | undefined {
    if (personality === undefined) return undefined;
    const { encoding, target } = personality;
    if ((encoding & DW_EH_PE_indirect) === 0) return target;
    if (!this.#own.has(target)) this.#own.set(target, this.#ownRoutine(target));
    return this.#own.get(target);
  }

  readonly #own = new Map<Rva, Rva | undefined>();

  #ownRoutine(slot: Rva): Rva | undefined {
    const found = this.#image.relocations.find(
      ({ rva, type }) => rva === slot && type === spec.R_X86_64_RELATIVE,
    );
    const at = Number(found?.addend ?? 0);
    return at > 0 && Number.isSafeInteger(at) ? rva(at) : undefined;
  }

  /** What relocations put into words: the symbol's name. */
  readonly #slots = lazy(() => {
    const names = new Map<number, string>();
    for (const { rva, type, symbol, addend } of this.#image.relocations) {
      const isSymbol = type === spec.R_X86_64_64 || type === spec.R_X86_64_GLOB_DAT;
      const name = isSymbol
        ? this.#image.symbols[symbol]?.name
        : type === spec.R_X86_64_RELATIVE
          ? this.#functions().get(Number(addend))
          : undefined;
      if (name !== undefined && /personality/.test(name)) names.set(rva, name);
    }
    return names;
  });

  readonly #functions = lazy(() => {
    const names = new Map<number, string>();
    for (const { rva, name, type, shndx } of [...this.#image.staticSymbols, ...this.#image.symbols]) {
      if (rva !== undefined && type === spec.STT_FUNC && shndx !== spec.SHN_UNDEF) names.set(rva, name);
    }
    return names;
  });
}
