/**
 * Prelinked modules: copies of a program's libraries, for this program alone, that are linked to the addresses at which
 * the stock dynamic loader will map them.
 *
 * Problem. At each start the loader applies the same relocations with the same results, but for the addresses, which it
 * chooses anew; so each process has its own copies of the pages that they stand on.
 *
 * Example. inkscape: 426,000 relocations on 1,463 pages. With its 136 libraries at planned addresses 1,519 are left, on
 * 210 pages.
 *
 * Method. The loader maps a library whose first p_vaddr is not zero there, if the place is free. Each library gets a place
 * (plan-addresses.ts); a copy is slid to it (slide.ts): every address in headers, symbols, the dynamic section and
 * relocations. Then what can be known is written into the copy, and taken out of its tables (apply.ts): where a
 * reference leads is what the loader itself would find (closure/scope.ts). What depends on the start stays (stays.ts).
 * What was bound lazily still is (lazy-stubs.ts).
 *
 * Limits. What is written holds for the scope of one program: another one needs its own copies. A copy that the kernel maps
 * elsewhere is wrong beyond repair, so whoever shows it to a program must see that it was mapped where it belongs,
 * before resolvers of IFUNCs run, or start the program plainly. With `relocations: 'kept'` it is right everywhere, and
 * saves nothing. The program and the loader stay as they are.
 */
import type { ClosureModule } from '../closure/modules.ts';
import type { DirectStubs } from './direct-stubs.ts';

/** Why a relocation is left to the dynamic loader. */
export type StayReason =
  | 'in the program, which stays as it is'
  | 'in the loader, which stays as it is'
  | 'to the program, whose address is not planned'
  | 'to the loader, whose address is not planned'
  | 'to a module that stays as it is'
  | 'to a function that is resolved at each start'
  | 'thread-local storage'
  | 'the word is not in the file'
  | 'nothing defines it'
  | 'to a unique symbol, of which the loader keeps a list'
  | 'bound at each start'
  | 'relocated at each start'
  | 'another type';

/** What is added to a module's RVAs: where its RVA 0 will lie. Modules without a place are not in it. */
export type PlannedAddresses = ReadonlyMap<ClosureModule, number>;

export interface PrelinkOptions {
  /**
   * `applied`: known words are written and need no relocation; `relative`: only those that lead into their own module,
   * and references are bound at each start; `references`: only those that lead to other modules; `kept`: all are applied
   * again at each start.
   */
  readonly relocations: 'applied' | 'relative' | 'references' | 'kept';
  /** `direct`: stubs of the PLT jump to functions whose address is known and near; with `applied` only. */
  readonly stubs?: 'through the table' | 'direct';
}

export interface PrelinkedModule {
  readonly kind: 'prelinked';
  readonly module: ClosureModule;
  /** Where RVA 0 of the original lies: in the copy addresses are those of memory. */
  readonly base: number;
  /** The whole file. */
  readonly bytes: Uint8Array;
  readonly applied: number;
  readonly left: number;
  /** 4 KiB pages that what is left is written to. */
  readonly leftPages: number;
  readonly reasons: ReadonlyMap<StayReason, number>;
  readonly stubs: DirectStubs;
}

export interface KeptModule {
  readonly kind: 'kept';
  readonly module: ClosureModule;
  readonly reason: string;
}
