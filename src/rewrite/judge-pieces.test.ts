/** Why code must stay: whatever would make a verbatim copy behave otherwise. */
import { afterAll, describe, expect, it } from 'vitest';
import { AnalysisScene, edited, sceneOf } from '../../test/support/analysis-scene.ts';
import { BARE_LIBRARY, fdeFunction, Workshop } from '../../test/support/asm.ts';
import { readEhFrame } from '../elf/eh-frame.ts';
import * as spec from '../elf/spec.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

const scene = (assembly: string, options?: readonly string[]): AnalysisScene =>
  sceneOf(workshop, assembly, options);

/** A function that nothing is wrong with, so that a test does not pass because everything stays. */
const SOUND = fdeFunction('sound', 'ret');

function keptIn(body: string, others = ''): string | undefined {
  const made = scene(`${fdeFunction('f', body)}${SOUND}${others}`);
  expect(made.kept('sound')).toBeUndefined();
  return made.kept('f');
}

describe('bytes that do not read as instructions', () => {
  it('keep their function; nothing that they say counts', () => {
    const made = scene(fdeFunction('f', 'call sound\n.byte 0x06') + SOUND);
    expect(made.unit('f')).toMatchObject({
      kept: 'does not decode as instructions',
      entries: [made.at('f')],
    });
    expect(made.references('f')).toEqual([]);
    expect(made.breakpoints()).toEqual([made.at('f'), made.at('sound')]);
  });

  it('may be branches of 16 bits, or operands that wrap at 4 GiB', () => {
    expect(keptIn('.byte 0x66, 0xe9, 0, 0, 0, 0\nret')).toBe('does not decode as instructions');
    expect(keptIn('lea sound(%eip), %eax\nret')).toBe('does not decode as instructions');
    // What linkers make of calls through the GOT, and of those of __tls_get_addr, is sound.
    expect(keptIn('addr32 call sound\n.byte 0x66, 0x66\nrex.W call sound\nret')).toBeUndefined();
  });

  it('have no entry where not even the first instruction is one', () => {
    const made = scene(fdeFunction('f', '.byte 0x06') + SOUND);
    expect(made.unit('f').entries).toEqual([]);
    expect(made.breakpoints()).toEqual([made.at('sound')]);
  });
});

describe('data inside a function', () => {
  const reason = 'data inside the code';

  it('is told by who reads it, from within and from elsewhere', () => {
    expect(keptIn('mov 1f(%rip), %eax\nret\n1: .long 0x90909090')).toBe(reason);
    expect(keptIn('ret\ntable: .long 0x90909090', fdeFunction('g', 'mov table(%rip), %eax\nret'))).toBe(
      reason,
    );
    expect(keptIn('ret\ntable: .quad 0', fdeFunction('g', 'call *table(%rip)\nret'))).toBe(reason);
    // Code without an FDE is believed as well.
    const plain = '\nplain: .type plain, @function\nmov table(%rip), %eax\nret';
    expect(keptIn('ret\ntable: .long 0x90909090', plain)).toBe(reason);
  });

  it('is told by symbols, and by pointers that lead into an instruction', () => {
    expect(keptIn('ret\n.type d, @object\n.size d, 4\nd: .long 0x90909090')).toBe(reason);
    expect(keptIn('mov $1, %eax\nret', '.data\n.quad f + 2')).toBe(reason);
    const taken = fdeFunction('g', 'lea f + 2(%rip), %rax\nret');
    expect(keptIn('mov $1, %eax\nret', taken)).toBe(reason);
  });

  it('may begin like an instruction: an address in the middle is enough', () => {
    const taken = fdeFunction('g', 'lea behind(%rip), %rax\nret');
    expect(keptIn('inc %eax\nbehind: ret', taken)).toBe('its middle is addressed');
    // Assembly without FDEs counts from addresses. It stays, and they lead where they led.
    expect(keptIn('inc %eax\nbehind: ret', taken.replace(/\.cfi_\w+/g, ''))).toBeUndefined();
  });
});

describe('branches into the middle of an instruction', () => {
  const reason = 'a branch into the middle of an instruction';

  it('keep the function that has both', () => {
    expect(keptIn('1: jne 2f + 1\n2: mov $0x909090c3, %eax\nret')).toBe(reason);
  });

  it('keep both functions, as one was read wrongly', () => {
    const made = scene(fdeFunction('f', 'mov $1, %eax\nret') + fdeFunction('g', 'jmp.d32 f + 2') + SOUND);
    expect([made.kept('f'), made.kept('g'), made.kept('sound')]).toEqual([reason, reason, undefined]);
    expect(made.references('g')).toEqual([]);
  });

  it('are none where they leave out a lock prefix', () => {
    expect(keptIn('je 1f + 1\n1: lock cmpxchg %ecx, (%rdi)\nret')).toBeUndefined();
    const made = scene(
      fdeFunction('f', '1: lock incl (%rdi)\nret') + fdeFunction('g', 'jmp.d32 f + 1') + SOUND,
    );
    expect([made.kept('f'), made.kept('g')]).toEqual([undefined, undefined]);
    expect(made.unit('f').entries).toEqual([made.at('f')]);
  });
});

describe('code that computes with its own address', () => {
  const reason = 'computes with its own address';

  it('takes it with lea: of itself, or of its middle', () => {
    expect(keptIn('1: lea 1b(%rip), %rbx\nmovabs $0x1000, %rax\nadd %rax, %rbx\nret')).toBe(reason);
    expect(keptIn('nop\n1: lea 1b(%rip), %rbx\nret')).toBe(reason);
    expect(keptIn('lea 1f(%rip), %rbx\nmov 8(%rbx), %eax\n1: ret')).toBe(reason);
    // A function that gives its own address to somebody else has no business with it.
    expect(keptIn('nop\nlea f(%rip), %rdi\nret')).toBeUndefined();
  });

  it('takes it as a return address', () => {
    expect(keptIn('call 1f\n1: pop %rbx\nret')).toBe(reason);
    expect(keptIn('call 1f\nret\n1: pop %r11\nret')).toBe(reason);
    expect(keptIn('call 1f\nret\n1: mov (%rsp), %rax\nret')).toBe(reason);
    expect(keptIn('call 1f\nret\n1: inc %eax\nret')).toBeUndefined();
  });

  const DISPATCH = `
    lea base(%rip), %rsi
    lea steps(%rip), %rdx
    movslq (%rdx, %rdi, 4), %rax
    add %rsi, %rax
    jmp *%rax
    base: nop
    one: inc %eax
    two: inc %ebx
    three: ret`;
  const steps = (entries: string): string => `.section .rodata\n.align 4\nsteps: .long ${entries}\n.text\n`;

  it('may do so for a table of distances within itself', () => {
    const end = '0x7fffffff';
    const sound = steps(`base - base, one - base, two - base, three - base, ${end}`);
    expect(keptIn(DISPATCH, sound)).toBeUndefined();
    expect(keptIn(DISPATCH, steps(`one - base, two - base, three - base, ${end}`))).toBe(reason);
    const same = steps(`one - base, one - base, two - base, two - base, ${end}`);
    expect(keptIn(DISPATCH, same)).toBe(reason);
    const elsewhere = steps(`base - base, one - base, two - base, three - base, sound - base, ${end}`);
    expect(keptIn(DISPATCH, elsewhere)).toBe(reason);
    expect(keptIn(DISPATCH.replace('jmp *%rax', 'ret'), sound)).toBe(reason);
    expect(keptIn(DISPATCH, sound.replace('.section .rodata', '.data'))).toBe(reason);
    expect(keptIn(`1: lea 1b(%rip), %rcx\n${DISPATCH}`, sound)).toBe(reason);
  });
});

describe('code that is known by its address', () => {
  it('is a restartable sequence', () => {
    expect(keptIn('ret\n.byte 0x0f, 0xb9, 0x3d\n.long 0x53053053')).toBe('a restartable sequence');
    expect(keptIn('ret\n.byte 0x0f, 0xb9, 0x3d\n.long 0x100')).toBeUndefined();
  });

  it('is a signal trampoline', () => {
    const made = scene(
      `.cfi_startproc\n.cfi_signal_frame\nnop\n.globl back\nback: mov $15, %rax\nsyscall\n.cfi_endproc\n${SOUND}`,
    );
    expect(made.unit('back')).toMatchObject({ kept: 'a signal trampoline', entries: [] });
  });

  it('has a table of its return addresses, relocated or not', () => {
    const body = 'call sound\n.Lback: inc %eax\nret';
    expect(keptIn(body, '.data\n.quad .Lback')).toBe('a table of its return addresses');
    const options = ['-no-pie', '-nostdlib', '-Wl,-e,sound'];
    const fixed = scene(`${fdeFunction('f', body)}${SOUND}.section .rodata\n.quad .Lback`, options);
    expect(fixed.kept('f')).toBe('a table of its return addresses');
    // Of many calls one: a label that happens to stand there.
    const calls = 'call sound\ncall sound\ncall sound\n.Lback: inc %eax\nret';
    expect(keptIn(calls, '.data\n.quad .Lback')).toBeUndefined();
  });
});

describe('code whose bytes change', () => {
  const library = workshop.library(fdeFunction('f', 'nop\nret') + SOUND);

  it('may be written by the program', () => {
    const writable = edited(library, (view) => {
      for (const { index, type, flags } of library.segments) {
        const at = library.header.segmentsAt + index * spec.PHDR_SIZE + 4;
        if (type === spec.PT_LOAD && (flags & spec.PF_X) !== 0) view.setUint32(at, flags | spec.PF_W, true);
      }
    });
    const made = new AnalysisScene(writable);
    expect([made.kept('f'), made.kept('sound')]).toEqual(
      Array(2).fill('in a segment that the program may write'),
    );
  });

  it('is relocated when the module is loaded', () => {
    const options = [...BARE_LIBRARY, '-Wl,-z,notext'];
    const made = scene(`${fdeFunction('f', 'movabs $sound, %rax\nret')}${SOUND}`, options);
    expect([made.kept('f'), made.kept('sound')]).toEqual(['relocated when the module is loaded', undefined]);
  });
});

describe('FDEs', () => {
  const library = workshop.library(fdeFunction('f', 'nop\nret') + fdeFunction('g', 'nop\nret') + SOUND);
  const f = new AnalysisScene(library).at('f');

  function withRange(range: number): AnalysisScene {
    const fde = readEhFrame(library).fdes.find(({ start }) => start === f);
    const at = fde === undefined ? 0 : (library.offsetOf(fde.rangeAt) ?? 0);
    return new AnalysisScene(edited(library, (view) => view.setUint32(at, range, true)));
  }

  it('that overlap keep what both are about', () => {
    const made = withRange(3);
    expect(made.unit('g')).toBe(made.unit('f'));
    expect(made.unit('f')).toMatchObject({ start: f, end: made.at('sound'), kept: 'overlapping FDEs' });
    expect(made.kept('sound')).toBeUndefined();
  });

  it('that reach out of the code make no unit', () => {
    const made = withRange(0x10_0000);
    expect(made.analysis.kept).toEqual([{ kind: 'kept', reason: 'its FDE is not about code', at: f }]);
    expect(made.kept('g')).toBeUndefined();
  });
});

describe('branches out of the code', () => {
  it('keep their function', () => {
    expect(keptIn('jmp.d32 f + 0x100000\nret')).toBe('a branch to what is no code');
    expect(keptIn('jmp.d32 f - 0x10000000\nret')).toBe('a branch to what is no code');
  });

  it('are calls of undefined weak functions in programs at fixed addresses', () => {
    const options = ['-no-pie', '-nostdlib', '-static', '-Wl,-e,sound'];
    const made = scene(`.weak nothing\n${fdeFunction('f', 'call nothing\nret')}${SOUND}`, options);
    expect(made.kept('f')).toBeUndefined();
  });
});
