/**
 * Jumps through a table of which the entry was read long before and kept on the stack meanwhile.
 *
 * Example: a `switch` at the head of a loop whose value never changes, as GCC compiles it where registers are scarce:
 * `lea T, %rax; movslq (%rax,%rcx,4), %rax; mov %rax, 0x40(%rsp)`, and in the loop
 * `mov 0x40(%rsp), %rsi; lea T, %rax; add %rsi, %rax; jmp *%rax`.
 * Such a table could be copied if nobody else wrote to that place of the stack, which is not looked for. What is seen is that
 * the jump goes through the sum of a table's address and of what comes from the stack: so it is named.
 */
import { NONE } from '../x86/registers.ts';
import { MOST_STEPS, straightBefore, sumBefore } from './table-candidates.ts';
import type { TableCode } from './table-code.ts';
import { isTableOf } from './table-entries.ts';

const RSP = 4;
const RBP = 5;

export function isEntryOnStack(code: TableCode, jump: number): boolean {
  const sum = sumBefore(code, jump);
  if (sum === undefined) return false;
  const open = new Set(sum.parts);
  let fromStack = false;
  let fromTable = false;
  for (const operation of straightBefore(code, sum.place, sum.place - MOST_STEPS)) {
    const { kind, to, memory, insn, uses } = operation;
    const written = uses.find(({ register, writes }) => writes !== 0 && open.has(register));
    if (written === undefined) continue;
    open.delete(written.register);
    if (written.register !== to) return false;
    const isStack = memory !== undefined && (memory.base === RSP || memory.base === RBP);
    if (kind === 'move' && isStack && memory.index === NONE) fromStack = true;
    const address = code.addressOperands.find(({ at }) => at === insn.at)?.address;
    if (kind === 'lea' && address !== undefined && isTableOf(code, address, 'relative')) fromTable = true;
    if (fromStack && fromTable) return true;
  }
  return false;
}
