/**
 * Code in front of a program's first instruction that has unused pages mapped apart from used ones.
 *
 * Problem: a page fault maps the cached pages of an aligned window of 16, as far as the mapping reaches. Where functions have
 * to stay at their addresses (ET_EXEC), used and unused pages lie side by side, and nearly all become resident.
 * Example: of python3.11's 691 pages of code a start with numpy needs 296, and 592 of them lie in a window with one.
 * Method: advice makes a run of pages a mapping of its own, which other faults stop at. The advice is the one that changes
 * nothing else: huge pages are not made of these mappings anyway (MADV_NOHUGEPAGE). What is come to in such a run all the
 * same is mapped as ever. The entry point of the file leads to a loop over the runs, which then goes on where the entry led before.
 * Nothing of the program has run by then, but resolvers and constructors of its libraries; of the registers the
 * start-up code gets only %rdx and the stack (psABI), and they are left.
 * Limits: each run costs a system call at each start. Where the kernel refuses, more pages are resident and nothing
 * else differs; a filter that kills for madvise would end the program, but behind filters nobody is shown a copy.
 */
import { viewOf } from '../elf/bytes.ts';
import type { PageRun } from './model.ts';

/** `lea`, `jmp` and constants as below; displacements are written into the zeros. */
const CODE = Buffer.from(
  [
    '52', // push %rdx
    '488d1d00000000', // lea runs(%rip), %rbx
    '8b3b', // next: mov (%rbx), %edi
    '8b7304', // mov 4(%rbx), %esi
    '85f6', // test %esi, %esi
    '7412', // je done
    'ba0f000000', // mov $MADV_NOHUGEPAGE, %edx
    'b81c000000', // mov $SYS_madvise, %eax
    '0f05', // syscall
    '4883c308', // add $8, %rbx
    'ebe5', // jmp next
    '5a', // done: pop %rdx
    'e900000000', // jmp entry
  ].join(''),
  'hex',
);
const LEA_AT = 4;
const JUMP_AT = CODE.length - 4;
/** Address and size of a run, 4 bytes each; zeros behind the last. */
const RUN_SIZE = 8;
const RUNS_AT = Math.ceil(CODE.length / 4) * 4;

export const apartStubSize = (runs: number): number => (runs === 0 ? 0 : RUNS_AT + (runs + 1) * RUN_SIZE);

/**
 * @param bytes zeros, as many as `apartStubSize` says.
 * @param at the address that they are for, a multiple of 4.
 * @param entry where the program begins.
 */
export function writeApartStub(runs: readonly PageRun[], bytes: Uint8Array, at: number, entry: number): void {
  if (runs.length === 0) return;
  const view = viewOf(bytes);
  bytes.set(CODE);
  view.setInt32(LEA_AT, RUNS_AT - (LEA_AT + 4), true);
  view.setInt32(JUMP_AT, entry - (at + JUMP_AT + 4), true);
  for (const [i, run] of runs.entries()) {
    view.setUint32(RUNS_AT + i * RUN_SIZE, run.at, true);
    view.setUint32(RUNS_AT + i * RUN_SIZE + 4, run.size, true);
  }
}
