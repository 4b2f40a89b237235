/**
 * Where a function's jump tables may lead: quickly, and rather too many places than too few.
 *
 * Problem: a function with a `switch` is cut only if it is known which of its parts the switch enters. table-search.ts
 * proves which tables a copy can have copies of, and takes as long for a library's functions as all other analysis.
 * Method: whatever the function's code names that reads like a table of it is one, up to where the next one begins; any of
 * its indirect jumps may lead to any entry. Nothing is changed for it: of an entry too many the recorder waits in vain, of
 * one that is missed the original runs, as from all that was not recorded.
 * Limits: a function whose jump looks like one through a table that is not found is not known. In programs with
 * fixed addresses neither is one that jumps by a register and names no table: any number may be a label.
 */
import { rva } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { ET_EXEC, PF_W, PF_X, PT_LOAD } from '../elf/spec.ts';
import { looksLikeTable } from './table-candidates.ts';
import { type CodeRange, TableCode } from './table-code.ts';
import { isTableOf, readTargets, type TableKind } from './table-entries.ts';

export interface GuessedTables {
  /** In the function; each once. */
  readonly targets: readonly number[];
  /** Where its first and last indirect jump stand. */
  readonly jumps: { readonly first: number; readonly last: number } | undefined;
  /** Of each table that is named more than once: where first and last. */
  readonly names: readonly { readonly from: number; readonly to: number }[];
}

const NOTHING: GuessedTables = { targets: [], jumps: undefined, names: [] };

interface Named {
  readonly kind: TableKind;
  from: number;
  to: number;
}

/** Undefined: it is not known where all its jumps lead. */
export function guessTables(image: ElfImage, unit: CodeRange): GuessedTables | undefined {
  const isInside = (at: number): boolean => at >= unit.start && at < unit.end;
  const code = new TableCode(image, unit, isInside, () => false);
  try {
    const [first] = code.jumps;
    const last = code.jumps.at(-1);
    if (first === undefined || last === undefined) return NOTHING;
    const tables = namedTables(code, image.header.type === ET_EXEC);
    if (tables.size === 0) {
      const isUnknown =
        image.header.type === ET_EXEC || code.jumps.some((jump) => looksLikeTable(code, jump));
      return isUnknown ? undefined : NOTHING;
    }
    const ascending = [...tables.keys()].sort((a, b) => a - b);
    const targets = new Set<number>();
    for (const [i, at] of ascending.entries()) {
      const kind = tables.get(at)?.kind ?? 'relative';
      const room = Math.ceil(((ascending[i + 1] ?? Number.POSITIVE_INFINITY) - at) / entrySize(kind));
      for (const target of readTargets(code, at, kind, room)) if (isInside(target)) targets.add(target);
    }
    const names = [...tables.values()].filter(({ from, to }) => from < to);
    return { targets: [...targets], jumps: { first, last }, names };
  } finally {
    code.free();
  }
}

const entrySize = (kind: TableKind): number => (kind === 'relative' ? 4 : 8);

/** What the code names that reads like a table, by address. */
function namedTables(code: TableCode, isFixed: boolean): ReadonlyMap<number, Named> {
  const found = new Map<number, Named>();
  const add = (at: number, address: number, kind: TableKind): void => {
    const known = found.get(address);
    if (known !== undefined) {
      known.from = Math.min(known.from, at);
      known.to = Math.max(known.to, at);
    } else if (isTableOf(code, address, kind)) found.set(address, { kind, from: at, to: at });
  };
  for (const { at, address } of code.addressOperands) {
    add(at, address, 'relative');
    if (isFixed) add(at, address, 'absolute');
  }
  if (isFixed) eachConstant(code, (at, value) => add(at, value, 'absolute'));
  return found;
}

/** Any four bytes of the code that may be the address of constants. */
function eachConstant({ image, start, end }: TableCode, visit: (at: number, value: number) => void): void {
  const offset = image.offsetOf(rva(start)) ?? 0;
  const view = new DataView(image.bytes.buffer, image.bytes.byteOffset + offset, end - start);
  const constants = image.segments.filter(
    ({ type, flags }) => type === PT_LOAD && (flags & (PF_W | PF_X)) === 0,
  );
  for (let at = 0; at + 4 <= view.byteLength; at++) {
    const value = view.getUint32(at, true);
    if (constants.some(({ rva, fileSize }) => value >= rva && value < rva + fileSize))
      visit(start + at, value);
  }
}
