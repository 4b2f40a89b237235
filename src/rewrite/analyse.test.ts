/** Each odd shape of code, assembled: which units it makes, what they are entered by, and why some must stay. */
import { afterAll, describe, expect, it } from 'vitest';
import { addressOf, fdeFunction, unitOfSymbol, Workshop } from '../../test/support/asm.ts';
import type { ElfImage } from '../elf/image.ts';
import { analyseModule, breakpointsOf, findUnitParts, unitAt } from './analyse.ts';
import { type ModuleAnalysis, REFERENCE_ADDRESS, REFERENCE_BRANCH, type Unit } from './model.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

function analysed(image: ElfImage): ModuleAnalysis {
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  return analysis;
}

interface Scene {
  readonly image: ElfImage;
  readonly analysis: ModuleAnalysis;
  at(name: string): number;
  unit(name: string): Unit;
  /** Targets of a unit's references, with their kinds. */
  references(name: string): string[];
}

function scene(assembly: string, options?: readonly string[]): Scene {
  const image = workshop.library(`.text\n${assembly}`, options);
  const analysis = analysed(image);
  const at = (name: string): number => addressOf(image, name);
  const unit = (name: string): Unit => unitOfSymbol(image, analysis, name);
  const references = (name: string): string[] => {
    const { start, end } = unit(name);
    const { field, target, kind } = analysis.references;
    return [...field.keys()]
      .filter((i) => (field[i] ?? 0) >= start && (field[i] ?? 0) < end)
      .map((i) => `${kind[i] === REFERENCE_ADDRESS ? 'address' : 'branch'} ${(target[i] ?? 0).toString(16)}`);
  };
  return { image, analysis, at, unit, references };
}

describe('functions with an FDE', () => {
  it('are units with their start as entry; what leads from one to another is a reference', () => {
    const { analysis, at, unit, references } = scene(
      fdeFunction('first', 'lea second(%rip), %rax\ncall second\nmov data(%rip), %ecx\nret') +
        fdeFunction('second', 'test %edi, %edi\nje 1f\nnop\n1: ret') +
        '.data\ndata: .long 1\n',
    );
    expect(unit('first')).toEqual({
      kind: 'function',
      start: at('first'),
      end: at('second'),
      entries: [at('first')],
      fallsThrough: false,
    });
    expect(unitAt(analysis, at('second') + 1)).toBe(unit('second'));
    const target = at('second').toString(16);
    expect(references('first')).toEqual([`address ${target}`, `branch ${target}`]);
    expect(breakpointsOf(analysis)).toEqual([at('first'), at('second')]);
  });

  it('run past their end where the last instruction lets them', () => {
    const { unit } = scene(
      fdeFunction('plain', 'nop') +
        fdeFunction('conditional', '1: jne 1b') +
        fdeFunction('calls', 'call plain@plt') +
        fdeFunction('jumps', 'jmp *%rax') +
        fdeFunction('returns', 'ret') +
        fdeFunction('stops', 'ud2'),
    );
    const falls = ['plain', 'conditional', 'calls', 'jumps', 'returns', 'stops'];
    expect(falls.filter((name) => unit(name).fallsThrough)).toEqual(['plain', 'conditional', 'calls']);
  });

  it('that short branches join are one unit; data between keeps them where they are', () => {
    const joined = scene(`${fdeFunction('a', 'jmp b + 1')}.p2align 5\n${fdeFunction('b', 'nop\nret')}`);
    expect(joined.unit('a')).toBe(joined.unit('b'));
    expect(joined.unit('a')).toMatchObject({ kind: 'cluster', entries: [joined.at('a'), joined.at('b')] });
    expect(joined.unit('a').kept).toBeUndefined();
    const apart = scene(`${fdeFunction('a', '.byte 0xeb, 1')}.byte 0x06\n${fdeFunction('b', 'ret')}`);
    expect(apart.unit('a')).toMatchObject({ kind: 'cluster', kept: 'no code between its parts' });
    expect(apart.unit('b')).toBe(apart.unit('a'));
  });
});

describe('REFERENCE_BRANCH and findUnitParts', () => {
  it('hold a function and its unlikely part together', () => {
    const { image, analysis, unit, at } = scene(
      fdeFunction('foo', 'test %edi, %edi\njs foo.cold + 1\n.globl back\nback: ret') +
        fdeFunction('other', 'call foo.cold\nret') +
        `.section .text.unlikely, "ax"\n${fdeFunction('foo.cold', 'nop\nneg %edi\njmp back')}`,
    );
    const { inside, partsOf } = findUnitParts(image, analysis);
    expect(partsOf(unit('foo'))).toEqual([unit('foo.cold')]);
    expect(partsOf(unit('other'))).toEqual([]);
    expect([at('foo'), at('foo.cold') + 1, at('other')].map(inside(unit('foo.cold')))).toEqual([
      true,
      true,
      false,
    ]);
    expect([...analysis.references.kind]).toEqual([REFERENCE_BRANCH, REFERENCE_BRANCH, REFERENCE_BRANCH]);
  });
});
