import { afterAll, describe, expect, it } from 'vitest';
import { fdeFunction, unitOfSymbol, Workshop } from '../../test/support/asm.ts';
import { analyseModule } from './analyse.ts';
import { CodeFields, readCodeFields } from './code-fields.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

/** Why the function `f` with this body cannot be copied; undefined where it can. */
function refusal(body: string): string | undefined {
  const image = workshop.library(`.data\nplace: .quad 1, 2\n.text\n${fdeFunction('f', body)}`);
  const analysis = analyseModule(image);
  if ('kind' in analysis) return analysis.reason;
  return readCodeFields(image, unitOfSymbol(image, analysis, 'f'), 'copy', new CodeFields()).refused;
}

describe('a function that takes its own address', () => {
  it('can be copied beside a constant of 64 bits that is no distance', () => {
    for (const constant of ['0x4ec4ec4ec4ec4ec5', '-2', '0x8000000000000000']) {
      expect(refusal(`lea f(%rip), %rax\nmovabs $${constant}, %rcx\nret`), constant).toBe(undefined);
    }
  });

  it('stays where it adds a distance to something of the module', () => {
    expect(refusal('lea f(%rip), %rax\nmovabs $place - f, %rcx\nadd %rcx, %rax\nret')).toBe(
      'computes with its own address',
    );
  });
});

describe('the phase of code', () => {
  const phase = (body: string): number => {
    const image = workshop.library(`.text\n.p2align 6\n.skip 48\n${fdeFunction('f', `${body}\nret`)}`);
    const analysis = analyseModule(image);
    if ('kind' in analysis) throw new Error(analysis.reason);
    return readCodeFields(image, unitOfSymbol(image, analysis, 'f'), 'copy', new CodeFields()).phase;
  };

  it('is that of its loops, if they are aligned', () => {
    expect(phase('nop')).toBe(16);
    expect(phase('jz 1f\n.p2align 6\n1: nop')).toBe(16);
    expect(phase('.p2align 6\n.skip 32, 0x90\n1: dec %eax\njnz 1b')).toBe(32);
    expect(phase('.p2align 6\n1: dec %eax\njnz 1b\n2: dec %ecx\njnz 2b')).toBe(64);
  });
});
