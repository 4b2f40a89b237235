/** Which instructions of a unit may make or name the address of one of its jump tables. */
import { ET_EXEC } from '../elf/spec.ts';
import type { Operation } from '../x86/operations.ts';
import { NONE } from '../x86/registers.ts';
import type { TableCode } from './table-code.ts';
import { isTableOf, readTargets, type TableKind } from './table-entries.ts';

/** What may be the address of a table of the unit. */
export interface Candidate {
  /** The instruction that makes the address, or names it and reads an entry. */
  readonly maker: Operation;
  readonly kind: TableKind;
  readonly address: number;
  readonly field: number;
  readonly tail: number;
  /** Where all entries lead that may be true ones. */
  readonly all: readonly number[];
}

export function findCandidates(code: TableCode): Candidate[] {
  const found: Candidate[] = [];
  const isFixed = code.image.header.type === ET_EXEC;
  const kinds: readonly TableKind[] = isFixed ? ['relative', 'absolute'] : ['relative'];
  const add = (maker: Operation, address: number, field: number, tail: number, kind: TableKind): void => {
    if (address > 0 && isTableOf(code, address, kind))
      found.push({
        maker,
        kind,
        address,
        field,
        tail,
        all: readTargets(code, address, kind),
      });
  };
  for (const { at, address } of code.addressOperands) {
    if (!kinds.some((kind) => isTableOf(code, address, kind))) continue;
    const maker = code.at(at);
    if (maker?.kind !== 'lea') continue;
    const { insn } = maker;
    for (const kind of kinds) add(maker, address, insn.fieldAt, insn.at + insn.length - insn.fieldAt, kind);
  }
  if (!isFixed) return found;
  for (const at of code.starts) {
    const maker = code.at(at);
    if (maker === undefined) continue;
    const { kind, memory, immediate, immediateAt } = maker;
    const isMove = kind === 'move' || kind === 'move32';
    if (isMove && immediate !== undefined && immediateAt >= 0)
      for (const entries of kinds) add(maker, immediate, immediateAt, 0, entries);
    if (
      (kind === 'move' || kind === 'jump') &&
      memory !== undefined &&
      memory.base === NONE &&
      memory.displacementAt >= 0
    )
      add(maker, memory.displacement, memory.displacementAt, 0, 'absolute');
  }
  return found;
}

/**
 * An unknown jump through the sum of a number that movslq reads and the address that it is read through: a few
 * instructions are looked at. Where another address is added it is a computed goto with labels' distances,
 * which leads to the copy's labels as the label that it adds to is the copy's.
 */
export function looksLikeTable(code: TableCode, jump: number): boolean {
  const sum = sumBefore(code, jump);
  if (sum === undefined) return false;
  const [a, b] = sum.parts;
  for (const { kind, to, memory } of straightBefore(code, sum.place, code.indexOf(jump) - MOST_STEPS)) {
    const isEntry = kind === 'extend' || kind === 'move32';
    if (!isEntry || memory === undefined || (to !== a && to !== b)) continue;
    const other = a === to ? b : a;
    return other === memory.base || (other === memory.index && memory.scale === 1);
  }
  return false;
}

/** The registers whose sum a jump goes through, and which of the unit's instructions adds them. */
export function sumBefore(
  code: TableCode,
  jump: number,
): { readonly parts: readonly [number, number]; readonly place: number } | undefined {
  let register = code.at(jump)?.source ?? NONE;
  let place = code.indexOf(jump);
  for (const { kind, to, source, memory, uses } of straightBefore(code, place, place - MOST_STEPS)) {
    place--;
    if (register === NONE) return undefined;
    if (to === register && kind === 'add' && source !== NONE) return { parts: [to, source], place };
    if (to === register && kind === 'lea' && memory !== undefined)
      return { parts: [memory.base, memory.index], place };
    if (to === register && kind === 'move') register = source;
    else if (uses.some((use) => use.register === register && use.writes !== 0)) return undefined;
  }
  return undefined;
}

/** The unit's instructions above one of them, upwards, as far as control goes straight on from there. */
export function* straightBefore(code: TableCode, place: number, last: number): Generator<Operation> {
  for (let i = place - 1; i >= last && i >= 0; i--) {
    const operation = code.at(code.starts[i] ?? NONE);
    if (operation === undefined || operation.insn.flow !== 'next') return;
    yield operation;
  }
}

export const MOST_STEPS = 16;
