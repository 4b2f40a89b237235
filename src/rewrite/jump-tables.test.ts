/** Switches as compilers and people write them, assembled: which tables a copy can have copies of, and why others stay. */
import { afterAll, describe, expect, it } from 'vitest';
import { fdeFunction, Workshop } from '../../test/support/asm.ts';
import {
  CASES,
  ENTRIES,
  type Found,
  main,
  rodata,
  searchIn,
  TABLE,
} from '../../test/support/jump-tables-scene.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

const search = (assembly: string, options?: readonly string[]): Found =>
  searchIn(workshop, assembly, options);

const PROGRAM = ['-no-pie', '-nostdlib', '-Wl,--build-id=none', '-Wl,-emain'];
const DISPATCH = 'movslq (%rdx,%rdi,4), %rax\nadd %rdx, %rax\njmp *%rax\n';
const CLONED = ['relative T to one two three from after'];

describe('a table of distances', () => {
  it('is found as GCC and clang write it', () => {
    expect(
      search(main(`cmp $2, %edi\nja other\nlea T(%rip), %rdx\nafter: ${DISPATCH}${CASES}`) + TABLE).words,
    ).toEqual(CLONED);
    const notrack = `lea T(%rip), %rdx\nafter: mov %edi, %edi\nmovslq (%rdx,%rdi,4), %rdi\nadd %rdi, %rdx\nnotrack jmp *%rdx\n`;
    expect(search(main(notrack + CASES) + TABLE).words).toEqual(CLONED);
    const sum = `lea T(%rip), %r9\nafter: movslq (%r9,%rdi,4), %rcx\nlea (%rcx,%r9), %r8\njmp *%r8\n`;
    expect(search(main(sum + CASES) + TABLE).words).toEqual(CLONED);
  });

  it('is found where the address is made before a loop, copied and kept across calls', () => {
    const body = `push %rbx\nlea T(%rip), %rbx\nafter: mov %rbx, %r12\nagain: call other\nmovslq (%r12,%rax,4), %rdx\nadd %r12, %rdx\njmp *%rdx
one: mov (%rsp), %rax\njmp again\ntwo: nop\njmp again\nthree: pop %rbx\nret\n`;
    expect(search(main(body) + fdeFunction('other', 'ret') + TABLE).words).toEqual(CLONED);
  });

  it('is found where one address serves two jumps, and where two addresses meet in one', () => {
    const twice = `lea T(%rip), %rdx\nafter: ${DISPATCH}one: ${DISPATCH}two: ret\nthree: ret\n`;
    expect(search(main(twice) + TABLE).words).toEqual(CLONED);
    const meeting = `test %esi, %esi\nje 1f\nlea T(%rip), %rdx\nafter: jmp 2f\n1: lea U(%rip), %rdx\nlater: 2: ${DISPATCH}${CASES}`;
    const tables = rodata(
      `T: ${ENTRIES('one', 'two', 'three')}\n.long 0x7fffffff\nU: .long other - U, one - U`,
    );
    const found = search(main(meeting) + tables);
    expect(found.words).toEqual([...CLONED, 'relative U to other one from later']);
    expect(found.kept).toEqual([]);
  });

  it('is found where its address is made twice for one jump, and not where only some of that is sure', () => {
    const twice = `lea T(%rip), %rdx\nafter: mov (%rdx,%rax), %eax\ncltq\nlea T(%rip), %rdx\nlater: add %rdx, %rax\njmp *%rax\n`;
    expect(search(main(twice + CASES) + TABLE).words).toEqual([
      'relative T to one two three from after later',
    ]);
    const again = `lea T(%rip), %rbx\nafter: movslq (%rbx,%rdi,4), %rax\nlea T(%rip), %rbx\nlater: add %rbx, %rax\njmp *%rax\n`;
    expect(search(main(again + CASES) + TABLE).words).toEqual([
      'relative T to one two three from after later',
    ]);
    const end = `lea T(%rip), %rsi\ncall elsewhere\n${twice}`;
    const third = search(main(end + CASES) + TABLE + fdeFunction('elsewhere', 'ret'));
    expect(third.words).toEqual(['relative T to one two three from after later']);
    expect(third.tables[0]?.fields).toHaveLength(2);
    const joined = twice.replace('later: ', 'later: cmp $3, %eax\nje 1f\nnop\n1: ');
    expect(search(main(joined + CASES) + TABLE).words).toEqual([]);
    const spoiled = twice.replace('later: ', 'later: mov %rdx, (%rsi)\n');
    expect(search(main(spoiled + CASES) + TABLE).words).toEqual([]);
  });

  it('is cut where a comparison bounds the index, and only there', () => {
    const tables = rodata(`T: ${ENTRIES('one', 'two', 'three', 'other')}\n`);
    const bounded = `cmp $2, %dil\nja other\nlea T(%rip), %rdx\nafter: movzbl %dil, %edi\n${DISPATCH}${CASES}`;
    expect(search(main(bounded) + tables).words).toEqual(CLONED);
    const longer = ['relative T to one two three other from after'];
    // Somebody comes in behind the comparison; it looks at a byte of the index; at another value of the register.
    const entered = `${bounded.replace('lea', 'inner: lea')}jmp inner\n`;
    expect(search(main(entered) + tables).words).toEqual(longer);
    expect(search(main(bounded.replace('movzbl %dil, %edi', 'mov %edi, %edi')) + tables).words).toEqual(
      longer,
    );
    expect(search(main(bounded.replace('movzbl %dil', 'incl %edi\nmovzbl %dil')) + tables).words).toEqual(
      longer,
    );
  });

  it('may be shorter than a mask allows, and not than a comparison', () => {
    const masked = `and $15, %edi\nlea T(%rip), %rdx\nafter: ${DISPATCH}${CASES}`;
    expect(search(main(masked) + TABLE).words).toEqual(CLONED);
    const compared = search(main(masked.replace('and $15, %edi', 'cmp $15, %edi\nja other')) + TABLE);
    expect([compared.words, compared.reasons]).toEqual([[], ['a jump table is shorter than its bound']]);
  });

  it('goes on over entries that lead out of the unit, as they may be true ones', () => {
    const tables = rodata(`T: ${ENTRIES('one', 'far', 'two')}\n`);
    const text = main(`lea T(%rip), %rdx\nafter: ${DISPATCH}${CASES}`) + fdeFunction('far', 'ret');
    expect(search(text + tables).words).toEqual(['relative T to one far two from after']);
  });

  it('ends at the middle of an instruction', () => {
    const tables = rodata(`T: ${ENTRIES('one', 'two', 'three', 'three + 1')}\n`);
    expect(search(main(`lea T(%rip), %rdx\nafter: ${DISPATCH}${CASES}`) + tables).words).toEqual(CLONED);
  });

  it('is followed into the unlikely part of the function', () => {
    const part =
      '.section .text.unlikely\n' +
      fdeFunction('part', `two: ${DISPATCH.replaceAll('%rdx', '%rcx')}`) +
      '.text\n';
    const body = (use: string): string =>
      `lea T(%rip), %rdx\nafter: mov %rdx, %rcx\n${DISPATCH}one: ret\nthree: ${use}\nret\njmp two\n`;
    const text = (use: string): string => main(body(use)) + part.replace('two: ', 'nop\ntwo: ') + TABLE;
    expect(search(text('nop')).words).toEqual(CLONED);
    const spoiled = text('nop').replace('nop\ntwo: ', 'nop\ntwo: cmp %rcx, %rsi\nje three\n');
    expect(search(spoiled).reasons).toEqual(['the address of a jump table is compared']);
  });
});

describe('what keeps a table', () => {
  const reasons = (body: string): readonly string[] => {
    const found = search(main(body) + TABLE + fdeFunction('elsewhere', 'ret'));
    expect(found.words).toEqual([]);
    return found.reasons;
  };
  const OTHERWISE = ['the address of a jump table is used otherwise'];

  it('is any other use of its address, wherever control brings it', () => {
    const used = (use: string): string =>
      `lea T(%rip), %rdx\n${DISPATCH}one: ret\ntwo: test %edi, %edi\nje 1f\nret\n1: ${use}\nret\nthree: ret\n`;
    expect(reasons(used('mov 4(%rdx), %ecx'))).toEqual(OTHERWISE);
    expect(reasons(used('add $8, %rdx\nmov (%rdx), %ecx'))).toEqual(OTHERWISE);
    expect(reasons(used('testb $1, (%rsi,%rdx)'))).toEqual(OTHERWISE);
    expect(reasons(used('call *%rdx'))).toEqual(OTHERWISE);
    expect(reasons(used('sub %rsi, %rdx\nje one'))).toEqual(['the address of a jump table is compared']);
    expect(reasons(used('cmp %rax, %rsi\nje one'))).toEqual(['the address of a jump table is compared']);
  });

  it('is another value in the sum', () => {
    const changed = `lea T(%rip), %rdx\nmovslq (%rdx,%rdi,4), %rax\ncmp $1, %esi\nje 1f\nlea one(%rip), %rdx\n1: add %rdx, %rax\njmp *%rax\n`;
    expect(search(main(changed + CASES) + TABLE).words).toEqual([]);
    const two = `lea T(%rip), %rdx\nmovslq (%rdx,%rdi,4), %rax\nlea U(%rip), %rdx\nadd %rdx, %rax\njmp *%rax\n`;
    const tables = rodata(`T: ${ENTRIES('one', 'two', 'three')}\nU: .long two - U`);
    expect(search(main(two + CASES) + tables).words).toEqual([]);
  });

  it('is being stored far from any jump', () => {
    const body = `push %rbx\nlea T(%rip), %rbx\nagain: call elsewhere@PLT\nmov %rbx, 8(%rsp)\nmovslq (%rbx,%rax,4), %rdx\nadd %rbx, %rdx\njmp *%rdx\n${CASES}`;
    expect(reasons(body)).toEqual(['the address of a jump table is stored']);
  });

  it('is an address from memory: the jump is named', () => {
    const body = `lea T(%rip), %rdx\nmov %rdx, 8(%rsp)\ncall elsewhere@PLT\nmov 8(%rsp), %rdx\n${DISPATCH}${CASES}`;
    expect(reasons(body)).toEqual(['a jump table whose address is not found']);
  });
});

describe('what does not keep one', () => {
  const words = (body: string): readonly string[] =>
    search(main(body) + TABLE + fdeFunction('elsewhere', 'ret')).words;
  const targets = (use: string): string =>
    `lea T(%rip), %rdx\nafter: ${DISPATCH}one: ret\ntwo: test %esi, %esi\n${use}\nret\nthree: ret\n`;

  it('is an old value that makes no difference', () => {
    expect(words(targets('sete %dl\nmov %edx, %eax'))).toEqual(CLONED);
    expect(
      words(
        targets(
          'sete %dl\nsete %al\nor %edx, %eax\nand $1, %eax\nmov %eax, 8(%rsp)\ntest %eax, %eax\nje one',
        ),
      ),
    ).toEqual(CLONED);
    expect(words(targets('sbb %rdx, %rdx\nor $-1, %eax\ncmp %rax, %rdx\nje one'))).toEqual(CLONED);
    expect(words(targets('bsf %edi, %eax\ncmove %ecx, %eax\nmov %eax, (%rsi)'))).toEqual(CLONED);
    expect(words(targets('mov %rdx, 8(%rsi)'))).toEqual(CLONED);
  });

  it('is code behind a call that does not return, if control comes there otherwise too', () => {
    const body = targets('mov %rsi, %r12\nje 2f\nmov %rdx, %r12\ncall elsewhere\nnop\n2: mov (%r12), %eax');
    const ends = fdeFunction('last', 'call elsewhere');
    expect(words(body)).toEqual([]);
    expect(search(main(body) + ends + TABLE + fdeFunction('elsewhere', 'ud2')).words).toEqual(CLONED);
  });
});

describe('other indirect jumps', () => {
  it("are counted apart: tail calls, computed gotos with relocated labels or labels' distances", () => {
    const tail = search(main('mov (%rdi), %rax\njmp *%rax'));
    expect([tail.words, tail.reasons, tail.otherJumps]).toEqual([[], [], 1]);
    const labels = '.section .data.rel.ro, "aw"\nL: .quad one, two, three\n.text\n';
    const relocated = search(
      main(`lea L(%rip), %rdx\nmov (%rdx,%rdi,8), %rax\njmp *%rax\n${CASES}`) + labels,
    );
    expect([relocated.words, relocated.reasons, relocated.otherJumps]).toEqual([[], [], 1]);
    const distances = rodata('T: .long one - one, two - one, three - one, two - one');
    const goto = `lea T(%rip), %rdx\nlea one(%rip), %rsi\nmovslq (%rdx,%rdi,4), %rax\nadd %rsi, %rax\njmp *%rax\n${CASES}`;
    const printf = search(main(goto) + distances);
    expect([printf.words, printf.reasons, printf.otherJumps]).toEqual([[], [], 1]);
  });
});

describe('a table of addresses in a program with fixed addresses', () => {
  const table = '.section .rodata\n.align 8\nT: .quad one, two, three\n.quad 1\n.text\n';
  const fixed = (body: string): readonly string[] => search(main(body) + table, PROGRAM).words;
  const CLONED_ABSOLUTE = ['absolute T to one two three from after'];

  it('is found in each of its forms', () => {
    expect(fixed(`cmp $2, %edi\nja other\njmp *T(,%rdi,8)\nafter: nop\n${CASES}`)).toEqual(CLONED_ABSOLUTE);
    expect(fixed(`mov T(,%rdi,8), %rax\nafter: notrack jmp *%rax\n${CASES}`)).toEqual(CLONED_ABSOLUTE);
    expect(fixed(`mov $T, %edx\nafter: jmp *(%rdx,%rdi,8)\n${CASES}`)).toEqual(CLONED_ABSOLUTE);
    expect(fixed(`lea T(%rip), %rdx\nafter: mov (%rdx,%rdi,8), %rax\njmp *%rax\n${CASES}`)).toEqual(
      CLONED_ABSOLUTE,
    );
  });

  it('stays where an entry is used otherwise', () => {
    const found = search(
      main(`mov T(,%rdi,8), %rax\ncmp %rax, %rsi\nje other\njmp *%rax\n${CASES}`) + table,
      PROGRAM,
    );
    expect([found.words, found.reasons]).toEqual([[], ['the address of a jump table is compared']]);
  });

  it('stays where the program can write it', () => {
    const writable = table.replace('.section .rodata', '.data');
    expect(search(main(`jmp *T(,%rdi,8)\nafter: ${CASES}`) + writable, PROGRAM).words).toEqual([]);
  });
});
