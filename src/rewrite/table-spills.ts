/**
 * Jumps through a table of which the entry was read long before and kept on the stack meanwhile.
 *
 * Example: a `switch` at the head of a loop whose value never changes, as GCC compiles it where registers are scarce:
 * `lea T, %rax; movslq (%rax,%rcx,4), %rax; mov %rax, 0x40(%rsp)`, and in the loop
 * `mov 0x40(%rsp), %rsi; lea T, %rax; add %rsi, %rax; jmp *%rax`.
 * Such a table can be copied if nobody but that `mov` writes to the place on the stack (stack-slots.ts), and what it puts
 * there is an entry of this table (table-flow.ts). Here is seen where to look: the jump goes through the sum of a
 * table's address and of what comes from the stack.
 */
import { NONE } from '../x86/registers.ts';
import { RSP } from './stack-slots.ts';
import { looksLikeTable, MOST_STEPS, straightBefore, sumBefore } from './table-candidates.ts';
import type { TableCode } from './table-code.ts';
import { isTableOf } from './table-entries.ts';

const RBP = 5;

const NOT_FOUND = 'a jump table whose address is not found';
const ON_STACK = 'a jump table whose entry is kept on the stack';

export interface SpilledEntry {
  /** The table's. */
  readonly address: number;
  /** Where the entry is kept, from rsp; undefined: it is known by rbp. */
  readonly displacement: number | undefined;
}

/** What the jump goes through, if that is a table's address and something from the stack. */
export function spilledEntryOf(code: TableCode, jump: number): SpilledEntry | undefined {
  const sum = sumBefore(code, jump);
  if (sum === undefined) return undefined;
  const open = new Set(sum.parts);
  let kept: { readonly displacement: number | undefined } | undefined;
  let table: number | undefined;
  for (const operation of straightBefore(code, sum.place, sum.place - MOST_STEPS)) {
    const { kind, to, memory, insn, uses } = operation;
    const written = uses.find(({ register, writes }) => writes !== 0 && open.has(register));
    if (written === undefined) continue;
    open.delete(written.register);
    if (written.register !== to) return undefined;
    const isStack = memory !== undefined && (memory.base === RSP || memory.base === RBP);
    if (kind === 'move' && isStack && memory.index === NONE)
      kept = { displacement: memory.base === RSP ? memory.displacement : undefined };
    const address = code.addressOperands.find(({ at }) => at === insn.at)?.address;
    if (kind === 'lea' && address !== undefined && isTableOf(code, address, 'relative')) table = address;
    if (kept !== undefined && table !== undefined) return { address: table, ...kept };
  }
  return undefined;
}

/** Why a jump that no walk has come to is one through a table all the same; undefined where it is none. */
export function reasonOf(code: TableCode, jump: number): string | undefined {
  if (looksLikeTable(code, jump)) return NOT_FOUND;
  return spilledEntryOf(code, jump) === undefined ? undefined : ON_STACK;
}
