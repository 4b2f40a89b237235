/**
 * Places of the stack that one function alone can reach, and who reads and writes them there.
 *
 * Problem: where a value is kept on the stack, whatever writes to memory in between may write over it.
 * Example: `sub $24, %rsp; ...; mov %rax, 8(%rsp); ...; mov 8(%rsp), %rsi`. The value is the same if nothing else names
 * those eight bytes, and nobody knows their address.
 * Method: rsp has one value from the end of the prologue, which is a straight line from the function's start, up to
 * epilogues, which go straight on to a return or out of the function. In between it is used for nothing but calls and
 * operands that name rsp and a constant. So no address of the frame is ever made, and each access tells by itself which
 * bytes it is about. Other functions get what is pushed for them alone, below the frame's end.
 * Limits: frames that are known by rbp, that grow later, or of which an address is made, and functions that share their code with
 * another are not looked at. Nor is where control comes from: what nobody wrote, nobody reads.
 */
import type { Operation } from '../x86/operations.ts';
import { NONE } from '../x86/registers.ts';
import type { TableCode } from './table-code.ts';

export const RSP = 4;
/** Of what is kept: a register of 64 bits. */
const SIZE = 8;

export interface StackSlot {
  /** `mov %rax, 8(%rsp)`. */
  readonly stores: readonly Operation[];
  /** `mov 8(%rsp), %rax`. */
  readonly loads: readonly Operation[];
}

/** @returns undefined where the eight bytes at `displacement` from rsp may be reached in other ways, too. */
export function findStackSlot(code: TableCode, displacement: number): StackSlot | undefined {
  if (!code.isAlone()) return undefined;
  const operations: Operation[] = [];
  for (const at of code.starts) {
    const operation = code.at(at);
    if (operation === undefined) return undefined;
    operations.push(operation);
  }
  const prologue = findPrologue(code, operations);
  if (prologue === undefined || displacement < 0 || displacement + SIZE > prologue.size) return undefined;
  const stores: Operation[] = [];
  const loads: Operation[] = [];
  for (let i = prologue.end; i < operations.length; i++) {
    const operation = operations[i];
    if (operation === undefined || leaves(code, operation) || callsMiddle(code, operation)) return undefined;
    if (operation.stackStep !== 0) {
      const last = endOfEpilogue(code, operations, i);
      if (last === undefined) return undefined;
      i = last;
      continue;
    }
    const access = accessOf(operation, displacement);
    if (access === 'other') return undefined;
    if (access === 'store') stores.push(operation);
    if (access === 'load') loads.push(operation);
  }
  return stores.length > 0 ? { stores, loads } : undefined;
}

interface Prologue {
  /** The first instruction behind it. */
  readonly end: number;
  /** Bytes of the frame that it makes. */
  readonly size: number;
}

/** A straight line in which nothing is written to the stack but what is pushed; undefined where it is another one. */
function findPrologue(code: TableCode, operations: readonly Operation[]): Prologue | undefined {
  let prologue = { end: 0, size: 0 };
  let isPlain = true;
  for (const [i, operation] of operations.entries()) {
    const { insn, stackStep } = operation;
    if (insn.flow !== 'next' || (i > 0 && code.joins.includes(insn.at))) break;
    if (stackStep !== 0) {
      // Operands in front of the last step would name other places by the same constants.
      if (!isPlain) return undefined;
      prologue = { end: i + 1, size: prologue.size - stackStep };
    } else if (usesStack(operation)) isPlain = false;
  }
  return prologue;
}

const usesStack = ({ uses }: Operation): boolean => uses.some(({ register }) => register === RSP);

/** The last instruction of an epilogue, after which control is elsewhere; undefined: it is none. */
function endOfEpilogue(code: TableCode, operations: readonly Operation[], first: number): number | undefined {
  for (const [i, operation] of operations.entries()) {
    if (i < first) continue;
    const { insn, stackStep } = operation;
    if (i > first && code.joins.includes(insn.at)) return undefined;
    if (insn.flow === 'return' || leaves(code, operation)) return insn.flow === 'conditional' ? undefined : i;
    if (insn.flow !== 'next' || (usesStack(operation) && stackStep === 0)) return undefined;
  }
  return undefined;
}

/** A branch out of the function, or to its start, where a frame is made. */
function leaves({ start, end }: TableCode, { insn: { flow, target } }: Operation): boolean {
  return (flow === 'jump' || flow === 'conditional') && (target <= start || target >= end);
}

/** A call that keeps the frame, as hand-written code makes it. */
function callsMiddle({ start, end }: TableCode, { insn: { flow, target } }: Operation): boolean {
  return flow === 'call' && target > start && target < end;
}

/** What an instruction does with the eight bytes at `displacement` from rsp; `other` also where that is not known. */
function accessOf(operation: Operation, displacement: number): 'none' | 'store' | 'load' | 'other' {
  const { insn, kind, memory, uses } = operation;
  const { flow } = insn;
  if (!usesStack(operation) || flow === 'call' || flow === 'return') return 'none';
  const isNamed = memory !== undefined && (memory.base === RSP || memory.index === RSP);
  if (flow === 'indirect-call' && !isNamed) return 'none';
  const writes = uses.some((use) => use.register === RSP && use.writes !== 0);
  if (memory?.base !== RSP || memory.index !== NONE || memory.size === 0 || kind === 'lea') return 'other';
  if (writes && flow !== 'indirect-call') return 'other';
  const at = memory.displacement;
  if (at + memory.size <= displacement || at >= displacement + SIZE) return 'none';
  if (at !== displacement || memory.size !== SIZE) return 'other';
  if (kind === 'store') return operation.source === RSP ? 'other' : 'store';
  return kind === 'move' && operation.to !== RSP ? 'load' : 'other';
}
