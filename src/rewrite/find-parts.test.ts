/** Functions that are cut: where, and what is told of the parts. */
import * as fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { type AnalysisScene, sceneOf } from '../../test/support/analysis-scene.ts';
import { fdeFunction, Workshop } from '../../test/support/asm.ts';
import { brokenLaws } from '../../test/support/unit-laws.ts';
import { breakpointPlaces } from './analyse.ts';
import type { Unit } from './model.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

const scene = (assembly: string): AnalysisScene => sceneOf(workshop, assembly);

/** Bytes of code that nothing can be said of. */
const filled = (bytes: number): string => `.fill ${bytes}, 1, 0x90`;

/** Two ways: the likely one, and behind it one that comes back. */
const TWO_WAYS = (between: string): string =>
  `test %edi, %edi\njs.d32 far\nback: ${filled(80)}\n${between}\nfar: ${filled(80)}\nneg %edi\njmp.d32 back`;

const namesOf = (made: AnalysisScene, names: readonly string[]): number[] =>
  names.map((name) => made.at(name));

function partsOf(made: AnalysisScene, name: string): readonly Unit[] {
  const { units } = made.analysis;
  const first = units.findIndex(({ start }) => start === made.at(name));
  let end = first + 1;
  while (units[end]?.kind === 'part') end++;
  return units.slice(first, end);
}

describe('a function', () => {
  it('is cut behind a return that no short branch crosses', () => {
    const made = scene(fdeFunction('f', TWO_WAYS('ret')) + fdeFunction('g', 'call f\nret'));
    expect(partsOf(made, 'f')).toEqual([
      {
        kind: 'function',
        start: made.at('f'),
        end: made.at('far'),
        entries: namesOf(made, ['f', 'back']),
        fallsThrough: false,
      },
      {
        kind: 'part',
        start: made.at('far'),
        end: made.at('g'),
        entries: namesOf(made, ['far']),
        fallsThrough: false,
      },
    ]);
    const [far, back] = namesOf(made, ['far', 'back']).map((at) => `branch 0x${at.toString(16)}`);
    expect(made.references('f')).toEqual([far]);
    expect(made.references('far')).toEqual([back]);
    expect(brokenLaws(made.image, made.analysis)).toEqual([]);
  });

  it('has breakpoints where its other parts are entered, and none where they lead back to the first', () => {
    const made = scene(fdeFunction('f', TWO_WAYS('ret')));
    expect(made.breakpoints()).toEqual(namesOf(made, ['f', 'far']));
  });

  it('has them there too if something else enters it aside', () => {
    const aside = `.section .text.unlikely, "ax"\n${fdeFunction('h', 'jmp far + 1')}`;
    const made = scene(fdeFunction('f', TWO_WAYS('ret')) + aside);
    const wanted = [...namesOf(made, ['f', 'back', 'far', 'h']), made.at('far') + 1];
    expect(made.breakpoints()).toEqual(wanted.toSorted((a, b) => a - b));
    expect([...breakpointPlaces(made.analysis).follows].filter((one) => one === 1)).toHaveLength(1);
  });

  const whole: [string, string][] = [
    ['control runs on', TWO_WAYS('nop')],
    ['a short branch crosses', TWO_WAYS('jne far\nret')],
    ['it takes an address of its own', TWO_WAYS('lea f(%rip), %rax\nret')],
    ['it jumps by a register', TWO_WAYS('jmp *%rax')],
    ['it jumps by an index', TWO_WAYS('jmp *8(%rax,%rdx,8)')],
    ['it jumps by an index in a high register', TWO_WAYS('jmp *(%rsp,%r12,8)')],
    ['it calls its own middle', TWO_WAYS('call far\nret')],
    [
      'a branch leads behind a lock prefix',
      TWO_WAYS('ret').replace('back: .fill', 'lock\nback: incl (%rdi)\n.fill'),
    ],
    ['nothing leads to the rest', `${filled(80)}\nret\nfar: ${filled(80)}\nret`],
    ['its parts would be short', TWO_WAYS('ret').replaceAll('80', '10')],
  ];
  it.each(whole)('is not cut where %s', (_, code) => {
    expect(partsOf(scene(fdeFunction('f', code)), 'f')).toHaveLength(1);
  });

  it.each(['jmp *8(%rax)', 'jmp *(%rsp)', 'jmp *8(%r12)', 'jmp *g@GOTPCREL(%rip)'])(
    'is cut where it ends with %s',
    (jump) => {
      expect(partsOf(scene(fdeFunction('f', TWO_WAYS(jump))), 'f')).toHaveLength(2);
    },
  );

  it('is not cut where tables point to its middle, or symbols name it', () => {
    const pointed = scene(`${fdeFunction('f', TWO_WAYS('ret'))}.data\n.quad far`);
    expect(partsOf(pointed, 'f')).toHaveLength(1);
    const named = scene(`${fdeFunction('f', TWO_WAYS('ret'))}.globl far\n.type far, @function`);
    expect(partsOf(named, 'f')).toHaveLength(1);
  });

  it('is not cut where it has landing pads', () => {
    const made = scene(
      `.globl f\n.type f, @function\nf: .cfi_startproc\n.cfi_personality 0x1b, f\n.cfi_lsda 0x1b, lsda
       ${TWO_WAYS('ret')}\n.cfi_endproc\n.section .gcc_except_table, "a"\nlsda: .byte 0xff, 0xff, 1, 0`,
    );
    expect(partsOf(made, 'f')).toHaveLength(1);
  });

  it('keeps the laws of units, whatever branches it has', () => {
    const block = fc.record({
      bytes: fc.integer({ min: 0, max: 150 }),
      end: fc.constantFrom('ret', 'nop', 'jmp.d32', 'jmp', 'jne.d32', 'jne'),
      to: fc.nat({ max: 7 }),
    });
    fc.assert(
      fc.property(fc.array(block, { minLength: 2, maxLength: 8 }), (blocks) => {
        const code = blocks.map(({ bytes, end, to }, index) => {
          // Short branches reach their neighbours only.
          const near = Math.min(Math.max(to % blocks.length, index), Math.min(index + 1, blocks.length - 1));
          const isShort = end === 'jmp' || end === 'jne';
          const target = isShort ? near : to % blocks.length;
          const length = isShort ? Math.min(bytes, 50) : bytes;
          return `b${index}: ${filled(length)}\n${end}${end.startsWith('j') ? ` b${target}` : ''}`;
        });
        const made = scene(fdeFunction('f', `${code.join('\n')}\nret`));
        expect(brokenLaws(made.image, made.analysis)).toEqual([]);
        const parts = partsOf(made, 'f');
        expect(parts.map(({ start }) => start).slice(1)).toEqual(parts.map(({ end }) => end).slice(0, -1));
      }),
      { numRuns: 40 },
    );
  });
});
