/**
 * The figures of the notes on sharing for one program: what its modules import and relocate, and what each solution
 * that nobody ships would make of that. Computed from files; nothing is run.
 */
import type { Closure, ClosureModule } from '../closure/modules.ts';
import { Scope } from '../closure/scope.ts';
import { type AddressTables, addressTables } from './address-tables.ts';
import { addCounts, countRelocations, type RelocationCounts } from './count-relocations.ts';
import { type DispatcherPages, dispatcherPages } from './dispatcher-pages.ts';
import { type HashedDispatcher, hashImports } from './hashed-dispatcher.ts';
import { importsOf } from './imports.ts';
import { spanOf } from './layouts.ts';
import { type AddressHashing, hashAddresses } from './module-addresses.ts';
import { type PrelinkedFigures, prelinkedFigures } from './prelinked.ts';

export interface ModuleFigures {
  readonly path: string;
  readonly role: ClosureModule['role'];
  /** Symbols from other modules. */
  readonly imports: number;
  /** Symbols of its own that another module could have taken the place of. */
  readonly own: number;
  /** Weak symbols that nothing defines. */
  readonly unbound: number;
  readonly relocations: RelocationCounts;
  /** 4 KiB pages that relocation writes to. */
  readonly relocatedPages: number;
}

export interface SharingFigures {
  /** Absolute path. */
  readonly program: string;
  readonly modules: readonly ModuleFigures[];
  readonly relocations: RelocationCounts;
  readonly relocatedPages: number;
  /** Over all modules; one symbol counts for each that imports it. */
  readonly imports: number;
  /** Systems 2, 3 and 5, and solution 3. */
  readonly prelinked: PrelinkedFigures;
  /** Solution 2. */
  readonly addressTables: AddressTables;
  /** Solution 3, for 16 and for 19 bits. */
  readonly addressHashes: readonly AddressHashing[];
  /** Solution 4. */
  readonly hashedDispatcher: HashedDispatcher;
  /** Solution 5. */
  readonly dispatcherPages: DispatcherPages;
}

const HASH_BITS: readonly number[] = [16, 19];

/** @throws WinnowError E_ELF_… for damaged modules. */
export function sharingFigures({ program, modules }: Closure): SharingFigures {
  const scope = new Scope(modules);
  const imports = modules.map((module) => importsOf(module, scope));
  const rows = imports.map(({ module, ...counts }): ModuleFigures => {
    const { counts: relocations, pages } = countRelocations(module.image);
    return {
      path: module.path,
      role: module.role,
      imports: counts.imports.length,
      own: counts.own,
      unbound: counts.unbound,
      relocations,
      relocatedPages: pages,
    };
  });
  const named = modules.map(({ name, image }) => ({ name, span: spanOf(image) }));
  return {
    program,
    modules: rows,
    relocations: addCounts(rows.map(({ relocations }) => relocations)),
    relocatedPages: rows.reduce((sum, { relocatedPages }) => sum + relocatedPages, 0),
    imports: rows.reduce((sum, row) => sum + row.imports, 0),
    prelinked: prelinkedFigures(modules, scope),
    addressTables: addressTables(imports),
    addressHashes: HASH_BITS.map((bits) => hashAddresses(named, bits)),
    hashedDispatcher: hashImports(imports),
    dispatcherPages: dispatcherPages(imports),
  };
}
