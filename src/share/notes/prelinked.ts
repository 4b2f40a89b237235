/** What prelinking would leave for the dynamic loader to do: relocations, and the pages that they make private. */
import { PAGE_SIZE } from '../../base/brands.ts';
import type { Relocation } from '../../elf/relocations.ts';
import * as spec from '../../elf/spec.ts';
import { Binder } from '../closure/bindings.ts';
import type { ClosureModule } from '../closure/modules.ts';
import type { Scope } from '../closure/scope.ts';
import type { StayReason } from '../prelink/model.ts';
import { whyItStays } from '../prelink/stays.ts';

export interface Written {
  readonly relocations: number;
  /** 4 KiB pages. */
  readonly pages: number;
}

export interface PrelinkedFigures {
  /** With all applied that can be: what is left. */
  readonly left: Written;
  /** By reason, most first. */
  readonly reasons: readonly { readonly reason: StayReason; readonly relocations: number }[];
  /** With the RELATIVE ones of libraries applied and no others: what is left. */
  readonly leftWithoutRelative: Written;
  /** What has nothing to do with other modules: RELATIVE ones alone. */
  readonly relativeAlone: Written;
}

const isRelative = ({ type }: Relocation): boolean =>
  type === spec.R_X86_64_RELATIVE || type === spec.R_X86_64_RELATIVE64;

export function prelinkedFigures(modules: readonly ClosureModule[], scope: Scope): PrelinkedFigures {
  const reasons = new Map<StayReason, number>();
  const left = new Tally();
  const leftWithoutRelative = new Tally();
  const relativeAlone = new Tally();
  for (const [index, module] of modules.entries()) {
    const binder = new Binder(scope, module);
    for (const relocation of module.image.relocations) {
      if (relocation.type === spec.R_X86_64_NONE) continue;
      const reason = whyItStays(module, relocation, binder.bind(relocation));
      if (isRelative(relocation)) relativeAlone.add(index, relocation);
      if (reason !== undefined || !isRelative(relocation)) leftWithoutRelative.add(index, relocation);
      if (reason === undefined) continue;
      left.add(index, relocation);
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
  }
  return {
    left: left.written(),
    reasons: [...reasons]
      .map(([reason, relocations]) => ({ reason, relocations }))
      .sort((a, b) => b.relocations - a.relocations || (a.reason < b.reason ? -1 : 1)),
    leftWithoutRelative: leftWithoutRelative.written(),
    relativeAlone: relativeAlone.written(),
  };
}

/** Pages of several modules, each page once. */
class Tally {
  #relocations = 0;
  readonly #pages = new Map<number, Set<number>>();

  add(module: number, { rva }: Relocation): void {
    this.#relocations++;
    const pages = this.#pages.get(module) ?? new Set();
    this.#pages.set(module, pages);
    pages.add(Math.floor(rva / PAGE_SIZE));
    pages.add(Math.floor((rva + 7) / PAGE_SIZE));
  }

  written(): Written {
    const pages = [...this.#pages.values()].reduce((sum, { size }) => sum + size, 0);
    return { relocations: this.#relocations, pages };
  }
}
