/** Switches whose entry was kept on the stack: which a copy can have tables for, and what keeps the others. */
import { afterAll, describe, expect, it } from 'vitest';
import { fdeFunction, Workshop } from '../../test/support/asm.ts';
import { type Found, main, searchIn, TABLE } from '../../test/support/jump-tables-scene.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

describe('a table whose entry was kept on the stack, as GCC does before a loop', () => {
  const EARLY =
    'push %rbx\nsub $24, %rsp\nlea T(%rip), %rax\nafter: movslq (%rax,%rdi,4), %rax\nmov %rax, 8(%rsp)\nxor %ebx, %ebx\n';
  const LATE =
    'again: mov 8(%rsp), %rsi\nlea T(%rip), %rax\nlater: mov (%rsp), %r15\nadd %rsi, %rax\njmp *%rax\n';
  const END = 'add $24, %rsp\npop %rbx\nret\n';
  const LABELS = `one: inc %ebx\ncmp $9, %ebx\njne again\n${END}two: mov %rbx, 16(%rsp)\nthree: ${END}`;
  const SWITCH = EARLY + LATE + LABELS;
  const searched = (body: string, more = ''): Found =>
    searchIn(
      workshop,
      `${main(body)}${more}.section .text.elsewhere, "ax"\n${fdeFunction('elsewhere', 'ret')}${TABLE}`,
    );
  /** The reasons where one piece of the code is another. */
  const instead = (from: string, to: string): readonly string[] => {
    expect(SWITCH).toContain(from);
    const found = searched(SWITCH.replace(from, to));
    expect(found.words).toEqual([]);
    return found.reasons;
  };
  const ON_STACK = ['a jump table whose entry is kept on the stack'];

  it('is found where nothing else comes to that place', () => {
    const found = searched(SWITCH);
    expect(found.words).toEqual(['relative T to one two three from after later']);
    expect([found.reasons, found.otherJumps, found.tables[0]?.together[0]?.length]).toEqual([[], 0, 2]);
    // Calls do not know of the place, and epilogues may lead on to another function.
    const called = SWITCH.replace('inc %ebx', 'inc %ebx\ncall elsewhere\ncall *(%r12)');
    expect(searched(called).reasons).toEqual([]);
    expect(searched(SWITCH.replace('pop %rbx\nret', 'pop %rbx\njmp elsewhere')).reasons).toEqual([]);
  });

  it('is named where something else is put there, or is read of it', () => {
    expect(instead('inc %ebx', 'mov %rbx, 8(%rsp)')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'movl $0, 8(%rsp)')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'movb $0, 15(%rsp)')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'movups %xmm0, (%rsp)')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'mov 12(%rsp), %ecx')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'mov 8(%rsp), %rcx\ntest %rcx, %rcx\nje three')).toEqual(ON_STACK);
    expect(instead('mov %rax, 8(%rsp)', 'mov %eax, 8(%rsp)')).toEqual(ON_STACK);
  });

  it('is named where the address of the frame is made, or an index reaches into it', () => {
    expect(instead('inc %ebx', 'lea 8(%rsp), %rdi\ncall elsewhere')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'lea 16(%rsp), %rdi\ncall elsewhere')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'mov %rsp, %rdi\ncall elsewhere')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'mov %rbx, (%rsp,%rbx,8)')).toEqual(ON_STACK);
    expect(instead('push %rbx', 'push %rsp')).toEqual(ON_STACK);
  });

  it('is named where the frame changes, is left or entered, or is not the function\u2019s own', () => {
    expect(instead('inc %ebx', 'push %rbx\ncall elsewhere\npop %rbx')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'sub $16, %rsp')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'and $-32, %rsp')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'test %ecx, %ecx\nje elsewhere')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'test %ecx, %ecx\nje main')).toEqual(ON_STACK);
    expect(instead('inc %ebx', 'call three')).toEqual(ON_STACK);
    expect(instead('sub $24, %rsp\n', '')).toEqual(ON_STACK);
    const entered = fdeFunction('enters', 'sub $64, %rsp\njmp again');
    expect(searched(SWITCH, entered).reasons).toEqual(ON_STACK);
  });

  it('is named where what is kept may be no entry of this table', () => {
    const joined = EARLY.replace('mov %rax, 8', '1: mov %rax, 8');
    const entered = LABELS.replace('two:', 'two: mov $5, %eax\njmp 1b\n');
    expect(searched(joined + LATE + LABELS).words).toHaveLength(1);
    const found = searched(joined + LATE + entered);
    expect([found.words, found.reasons]).toEqual([[], ON_STACK]);
    expect(instead('mov %rax, 8(%rsp)', 'mov %rcx, 8(%rsp)')).toEqual(ON_STACK);
    expect(instead('(%rax,%rdi,4), %rax', '4(%rax,%rdi,4), %rax')).toEqual(ON_STACK);
  });

  it('is not spoken of where something else comes from the stack, or is added', () => {
    expect(instead('mov 8(%rsp), %rsi', 'mov 8(%rdx), %rsi')).toEqual([]);
    expect(instead('again: mov 8(%rsp), %rsi\nlea T', 'again: mov 8(%rsp), %rsi\nlea main')).toEqual([]);
  });
});
