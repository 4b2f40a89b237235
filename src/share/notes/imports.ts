/** What each module takes from the others: every symbol once, however often it is relocated. */
import * as spec from '../../elf/spec.ts';
import { Binder } from '../closure/bindings.ts';
import type { ClosureModule } from '../closure/modules.ts';
import type { Definition, Scope } from '../closure/scope.ts';

export interface Import {
  readonly name: string;
  readonly version: string | undefined;
  /** Whether it is code: of a function that is defined, or that is called. */
  readonly isCode: boolean;
  readonly definition: Definition;
}

export interface ModuleImports {
  readonly module: ClosureModule;
  /** Bound to a definition in another module. */
  readonly imports: readonly Import[];
  /** Symbols that are bound to the module's own definition, which another could have taken the place of. */
  readonly own: number;
  /** Weak symbols that nothing defines. */
  readonly unbound: number;
}

const IMPORTING: readonly number[] = [spec.R_X86_64_JUMP_SLOT, spec.R_X86_64_GLOB_DAT, spec.R_X86_64_64];
const CODE: readonly number[] = [spec.STT_FUNC, spec.STT_GNU_IFUNC];

export function importsOf(module: ClosureModule, scope: Scope): ModuleImports {
  const binder = new Binder(scope, module);
  const imports = new Map<number, Import>();
  const own = new Set<number>();
  const unbound = new Set<number>();
  for (const relocation of module.image.relocations) {
    if (!IMPORTING.includes(relocation.type)) continue;
    const binding = binder.bind(relocation);
    if (binding === undefined) continue;
    const { symbol, definition } = binding;
    if (definition === undefined) unbound.add(symbol.index);
    else if (definition.module === module) own.add(symbol.index);
    else if (!imports.has(symbol.index)) {
      const isCode = CODE.includes(definition.symbol.type) || relocation.type === spec.R_X86_64_JUMP_SLOT;
      imports.set(symbol.index, { name: symbol.name, version: symbol.version?.name, isCode, definition });
    }
  }
  return { module, imports: [...imports.values()], own: own.size, unbound: unbound.size };
}
