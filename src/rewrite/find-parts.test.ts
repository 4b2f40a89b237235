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

/** A way for each entry of a table, each at least a part long. */
const SWITCH = `cmp $1, %edi\nlea table(%rip), %rdx\nmovslq (%rdx,%rdi,4), %rax\nadd %rdx, %rax\n${filled(40)}\njmp *%rax
one: ${filled(60)}\nret\ntwo: ${filled(60)}\nret`;
const TABLE = '.section .rodata\n.balign 4\ntable: .long one - table, two - table\n';

interface Padded {
  /** The personality routine. */
  readonly routine: string;
  /** How the data area says where pads count from. */
  readonly padStart: string;
  /** Start, length, pad, action. */
  readonly rows: readonly string[];
  readonly actions: string;
  readonly body: string;
}

/** A function whose first call lands behind its end when it throws. */
function padded(how: Partial<Padded>): string {
  const { routine, padStart, rows, actions, body } = {
    ...{ routine: '__gxx_personality_v0', padStart: '0xff', rows: ['0, 5, pad - f, 0'], actions: '' },
    ...{ body: `pad: ${filled(60)}` },
    ...how,
  };
  return `.globl f\n.type f, @function\nf: .cfi_startproc\n.cfi_personality 0x9b, routine\n.cfi_lsda 0x1b, lsda
    call *%rax\n${filled(60)}\nret\n${body}\n${filled(40)}\nret\n.cfi_endproc
    .data\n.balign 8\nroutine: .quad ${routine}
    .section .gcc_except_table, "a"\nlsda: .byte ${padStart}, 0xff, 1\n.uleb128 end - begin
    begin: ${rows.map((row) => `.uleb128 ${row.replaceAll(', ', '\n.uleb128 ')}`).join('\n')}
    end: ${actions === '' ? '' : `.sleb128 ${actions.replaceAll(', ', '\n.sleb128 ')}`}\n`;
}

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

  it.each([
    'jmp *%rax',
    'jmp *8(%rax,%rdx,8)',
    'jmp *(%rsp,%r12,8)',
    'jmp *8(%rax)',
    'jmp *(%rsp)',
    'jmp *8(%r12)',
    'jmp *g@GOTPCREL(%rip)',
  ])('is cut where it ends with %s', (jump) => {
    expect(partsOf(scene(fdeFunction('f', TWO_WAYS(jump))), 'f')).toHaveLength(2);
  });

  it('is not cut where tables point to its middle, or symbols name it', () => {
    const pointed = scene(`${fdeFunction('f', TWO_WAYS('ret'))}.data\n.quad far`);
    expect(partsOf(pointed, 'f')).toHaveLength(1);
    const named = scene(`${fdeFunction('f', TWO_WAYS('ret'))}.globl far\n.type far, @function`);
    expect(partsOf(named, 'f')).toHaveLength(1);
  });

  it('is cut at the labels of its jump table, and has breakpoints at them', () => {
    const made = scene(fdeFunction('f', SWITCH) + TABLE);
    const labels = namesOf(made, ['one', 'two']);
    expect(partsOf(made, 'f').map(({ start }) => start)).toEqual([made.at('f'), ...labels]);
    expect(partsOf(made, 'f').map(({ entries }) => entries)).toEqual(
      [made.at('f'), ...labels].map((at) => [at]),
    );
    expect(made.breakpoints()).toEqual([made.at('f'), ...labels]);
    expect(brokenLaws(made.image, made.analysis)).toEqual([]);
  });

  it('is not cut between two places that name the table, nor where a table is not found', () => {
    const twice = SWITCH.replace('ret', 'lea table(%rip), %rcx\nret');
    const made = scene(fdeFunction('f', twice) + TABLE);
    expect(partsOf(made, 'f').map(({ start }) => start)).toEqual([made.at('f'), made.at('two')]);
    const unknown = SWITCH.replace('lea table(%rip), %rdx', 'mov %rsi, %rdx');
    expect(partsOf(scene(fdeFunction('f', unknown) + TABLE), 'f')).toHaveLength(1);
  });

  it('is not cut where it jumps by a register in a program at fixed addresses', () => {
    const code = fdeFunction('f', TWO_WAYS('jmp *%rax'));
    const program = sceneOf(workshop, code, ['-nostdlib', '-no-pie', '-static', '-Wl,-e,f']);
    expect(partsOf(program, 'f')).toHaveLength(1);
    expect(partsOf(scene(code), 'f')).toHaveLength(2);
  });

  it('is cut at its landing pads, and has breakpoints at them', () => {
    const made = scene(padded({}));
    const [pad] = namesOf(made, ['pad']);
    expect(partsOf(made, 'f')).toMatchObject([
      { kind: 'function', entries: [made.at('f')] },
      { kind: 'part', start: pad, entries: [pad] },
    ]);
    expect(made.breakpoints()).toEqual(namesOf(made, ['f', 'pad']));
    expect(brokenLaws(made.image, made.analysis)).toEqual([]);
  });

  it.each<[string, Partial<Padded>]>([
    ['nothing says who reads its data area', { routine: 'somebody' }],
    ['its pads count from an address of their own', { padStart: '0x1b, 4, 0, 0, 0' }],
    ['its call sites do not ascend', { rows: ['5, 5, pad - f, 0', '0, 5, 0, 0'] }],
    ['its call sites reach out of it', { rows: ['0, 250, pad - f, 0'] }],
    ['its actions lead nowhere', { rows: ['0, 5, pad - f, 1'], actions: '1, 0' }],
    ['the pad is that of its own part', { rows: ['pad - f + 5, 10, pad - f, 0'] }],
    ['a pad is in the middle of an instruction', { body: '.byte 0x48, 0xc7\npad: .byte 0xc0, 1, 2, 3, 4' }],
  ])('with landing pads is not cut where %s', (_, how) => {
    expect(partsOf(scene(padded(how)), 'f')).toHaveLength(1);
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
