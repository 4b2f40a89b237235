/**
 * How many entries a jump uses at most, where the code just above it says so: `cmp $5, %edi; ja ...`.
 *
 * Only a check on what else is known of a table: jumps from elsewhere to between the two are not looked for.
 */
import type { Operation } from '../x86/operations.ts';
import { HALF, NONE } from '../x86/registers.ts';
import type { TableCode } from './table-code.ts';

const MOST_STEPS = 40;
/** Condition codes in branches: the low four bits of the opcode. */
const JAE = 3;
const JA = 7;

export interface Bound {
  readonly entries: number;
  /** RVA of the instruction that tells. */
  readonly from: number;
  /** It told of the whole index; a table has less than 2^32 entries. */
  readonly isWhole: boolean;
  /** A comparison, as compilers make for the table; a mask may leave room that is known not to be used. */
  readonly isComparison: boolean;
}

/** @param load the instruction that reads an entry. */
export function boundOf(code: TableCode, load: Operation): Bound | undefined {
  let register = load.memory?.index ?? NONE;
  let parts = HALF;
  let condition = NONE;
  let place = code.indexOf(load.insn.at);
  /** Bounds of registers that the index may turn out to be a copy of. */
  const bounds = new Map<number, Bound & { readonly parts: number }>();
  for (let step = 0; step < MOST_STEPS && register !== NONE; step++) {
    place--;
    const operation = place < 0 ? undefined : code.at(code.starts[place] ?? NONE);
    if (operation === undefined) return undefined;
    const { kind, to, source, immediate, insn, uses } = operation;
    const { flow, at: from } = insn;
    if (flow === 'jump' || flow === 'return' || flow === 'indirect-jump' || flow === 'stop') return undefined;
    if (kind === 'compare' && immediate !== undefined && immediate >= 0 && !bounds.has(to)) {
      const entries = condition === JA ? immediate + 1 : condition === JAE ? immediate : undefined;
      if (entries !== undefined)
        bounds.set(to, { entries, from, isWhole: true, isComparison: true, parts: operation.parts });
    }
    condition = flow === 'conditional' ? code.conditionOf(insn) : NONE;
    const bound = bounds.get(register);
    if (bound !== undefined) return { ...bound, isWhole: (parts & ~bound.parts) === 0 };
    for (const use of uses) if (use.writes !== 0) bounds.delete(use.register);
    if (!uses.some((use) => use.register === register && use.writes !== 0)) continue;
    if (kind === 'and' && immediate !== undefined && immediate >= 0)
      return { entries: immediate + 1, from, isWhole: (parts & ~operation.parts) === 0, isComparison: false };
    if (kind !== 'move' && kind !== 'move32' && kind !== 'zero' && kind !== 'extend') return undefined;
    register = source;
    parts &= uses.find((use) => use.register === source)?.reads ?? 0;
  }
  return undefined;
}
