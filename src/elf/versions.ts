/**
 * Symbol versions (GNU): DT_VERSYM gives every dynamic symbol an index; DT_VERDEF names the versions the
 * file defines, DT_VERNEED those it needs and from which library.
 */
import type { DynamicTables } from './dynamic.ts';
import * as spec from './spec.ts';
import type { StringTable } from './strings.ts';

export interface SymbolVersion {
  readonly name: string;
  /** Not the default: a reference without a version does not find it (`name@VERSION`). */
  readonly hidden: boolean;
  /** The library that is to define it, where the file needs it. */
  readonly library?: string;
}

interface Known {
  readonly name: string;
  readonly library?: string;
}

const VERDEF_SIZE = 20;
const VERDAUX_SIZE = 8;
const VERNEED_SIZE = 16;
const VERNAUX_SIZE = 16;
/** A version index has 15 bits, so longer chains repeat themselves. */
const MAX_RECORDS = 0x8000;

/** What the version of a dynamic symbol is; `of(index)` is undefined where it has none. */
export class SymbolVersions {
  readonly #indexes: DataView | undefined;
  readonly #known = new Map<number, Known>();
  #left = MAX_RECORDS;

  /** @throws E_ELF_DYNAMIC, E_ELF_STRING for damaged tables. */
  constructor(dynamic: DynamicTables, strings: StringTable, symbolCount: number) {
    if (dynamic.value(spec.DT_VERSYM) === undefined) return;
    this.#indexes = dynamic.table(spec.DT_VERSYM, symbolCount * 2);
    if (dynamic.value(spec.DT_VERDEF) !== undefined) this.#readDefined(dynamic, strings);
    if (dynamic.value(spec.DT_VERNEED) !== undefined) this.#readNeeded(dynamic, strings);
  }

  of(symbol: number): SymbolVersion | undefined {
    if (this.#indexes === undefined) return undefined;
    const raw = this.#indexes.getUint16(symbol * 2, true);
    const known = this.#known.get(raw & spec.VERSYM_VERSION);
    return known === undefined ? undefined : { ...known, hidden: (raw & spec.VERSYM_HIDDEN) !== 0 };
  }

  #readDefined(dynamic: DynamicTables, strings: StringTable): void {
    const table = dynamic.table(spec.DT_VERDEF);
    const count = dynamic.value(spec.DT_VERDEFNUM) ?? 0;
    let at = 0;
    for (let i = 0; i < count; i++) {
      this.#expect(dynamic, spec.DT_VERDEF, table, at, VERDEF_SIZE);
      const flags = table.getUint16(at + 2, true);
      const index = table.getUint16(at + 4, true);
      const aux = at + table.getUint32(at + 12, true);
      this.#expect(dynamic, spec.DT_VERDEF, table, aux, VERDAUX_SIZE);
      // The base definition is the library's own name, not a version of symbols.
      if ((flags & spec.VER_FLG_BASE) === 0)
        this.#known.set(index, { name: strings.at(table.getUint32(aux, true)) });
      const next = table.getUint32(at + 16, true);
      if (next === 0) return;
      at += next;
    }
  }

  #readNeeded(dynamic: DynamicTables, strings: StringTable): void {
    const table = dynamic.table(spec.DT_VERNEED);
    const count = dynamic.value(spec.DT_VERNEEDNUM) ?? 0;
    let at = 0;
    for (let i = 0; i < count; i++) {
      this.#expect(dynamic, spec.DT_VERNEED, table, at, VERNEED_SIZE);
      const library = strings.at(table.getUint32(at + 4, true));
      let aux = at + table.getUint32(at + 8, true);
      for (let k = table.getUint16(at + 2, true); k > 0; k--) {
        this.#expect(dynamic, spec.DT_VERNEED, table, aux, VERNAUX_SIZE);
        const index = table.getUint16(aux + 6, true) & spec.VERSYM_VERSION;
        this.#known.set(index, { name: strings.at(table.getUint32(aux + 8, true)), library });
        const next = table.getUint32(aux + 12, true);
        if (next === 0) break;
        aux += next;
      }
      const next = table.getUint32(at + 12, true);
      if (next === 0) return;
      at += next;
    }
  }

  #expect(dynamic: DynamicTables, tag: number, table: DataView, at: number, size: number): void {
    if (at + size > table.byteLength) dynamic.fail(tag, `a version record at +${at} goes past its segment`);
    if (this.#left-- === 0) dynamic.fail(tag, `more than ${MAX_RECORDS} version records`);
  }
}
