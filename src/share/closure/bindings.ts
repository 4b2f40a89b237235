/** Every relocation by symbol with what it is bound to. */
import type { Relocation } from '../../elf/relocations.ts';
import type { ElfSymbol } from '../../elf/symbols.ts';
import type { ClosureModule } from './modules.ts';
import { type Definition, type ReferenceKind, referenceKind, type Scope } from './scope.ts';

export interface Binding {
  readonly relocation: Relocation;
  readonly symbol: ElfSymbol;
  /** Undefined where nothing defines it. */
  readonly definition: Definition | undefined;
}

/** What the relocations of one module are bound to; a symbol is looked up once for each kind of reference. */
export class Binder {
  readonly #scope: Scope;
  readonly #module: ClosureModule;
  readonly #symbols: readonly ElfSymbol[];
  readonly #known: Readonly<Record<ReferenceKind, Map<number, Definition | undefined>>> = {
    call: new Map(),
    data: new Map(),
    copy: new Map(),
  };

  constructor(scope: Scope, module: ClosureModule) {
    this.#scope = scope;
    this.#module = module;
    this.#symbols = module.image.symbols;
  }

  /** Undefined for relocations without a symbol. */
  bind(relocation: Relocation): Binding | undefined {
    const symbol = relocation.symbol === 0 ? undefined : this.#symbols[relocation.symbol];
    if (symbol === undefined) return undefined;
    const kind = referenceKind(relocation.type);
    const known = this.#known[kind];
    if (!known.has(symbol.index)) known.set(symbol.index, this.#scope.resolve(this.#module, symbol, kind));
    return { relocation, symbol, definition: known.get(symbol.index) };
  }
}
