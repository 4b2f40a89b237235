/** Code without an FDE: start-up code moves, and what is proved to be code beside it is known and stays. */
import { afterAll, describe, expect, it } from 'vitest';
import { AnalysisScene, sceneOf, withoutSections } from '../../test/support/analysis-scene.ts';
import { fdeFunction, Workshop } from '../../test/support/asm.ts';
import { readElfFile } from '../elf/read.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

const scene = (assembly: string, options?: readonly string[]): AnalysisScene =>
  sceneOf(workshop, assembly, options);

const NO_FDE = 'no unwind information';
const START_UP = [
  '_init',
  '_fini',
  'deregister_tm_clones',
  'register_tm_clones',
  '__do_global_dtors_aux',
  'frame_dummy',
];

describe('start-up code', () => {
  const source =
    'static int n;\n__attribute__((constructor)) static void up(void) { n++; }\nint get(void) { return n; }\n';
  const kinds = [
    ['-shared', '-fPIC'],
    ['-shared', '-fPIC', '-fcf-protection', '-Wl,-z,pack-relative-relocs'],
    ['-shared', '-fPIC', '-Wl,-z,noseparate-code'],
  ];

  it.each(kinds)('of a library is fragments that move: %s %s %s', (...options) => {
    const built = readElfFile(workshop.build(source, 'c', options));
    for (const image of [built, withoutSections(built)]) {
      const made = new AnalysisScene(image);
      const fragments = made.analysis.units.filter(({ kind }) => kind !== 'function' && kind !== 'plt');
      // Symbols are those of the file with its headers.
      const whole = new AnalysisScene(built);
      for (const name of START_UP) {
        const unit = fragments.find(({ start, end }) => whole.at(name) >= start && whole.at(name) < end);
        expect({ name, found: unit !== undefined, kept: unit?.kept }).toEqual({
          name,
          found: true,
          kept: undefined,
        });
        expect(unit?.entries).toContain(whole.at(name));
      }
      expect(made.analysis.kept).toEqual([]);
      expect(made.breakpoints()).toEqual(expect.arrayContaining([whole.at('_init'), whole.at('get')]));
    }
  });

  it('of a program at fixed addresses comes from the words of its arrays', () => {
    const path = workshop.build(`${source}int main(void) { return 0; }\n`, 'c', ['-no-pie']);
    const made = new AnalysisScene(readElfFile(path));
    for (const name of START_UP) expect({ name, kept: made.kept(name) }).toEqual({ name, kept: undefined });
    expect(made.unit('_start').kind).toBe('function');
  });

  it('reaches as far as it branches to code that does not call on', () => {
    const made = scene(
      `${fdeFunction('f', 'ret')}
       _init: .globl _init\ncall leaf\njmp.d32 caller
       .p2align 4\n leaf: .globl leaf\n.type leaf, @function\nret
       .p2align 4\n caller: .type caller, @function\ncall f\nret`,
      ['-shared', '-nostdlib', '-Wl,-Bsymbolic', '-Wl,-init=_init'],
    );
    expect(['_init', 'leaf', 'caller'].map((name) => made.kept(name))).toEqual([
      undefined,
      undefined,
      NO_FDE,
    ]);
    expect(made.references('_init')).toHaveLength(2);
    // Code that stays leads where it led.
    expect(made.references('caller')).toEqual([]);
  });
});

describe('other code without an FDE', () => {
  it('is known by function symbols and by branches, stays, and gets no breakpoints', () => {
    const made = scene(
      `${fdeFunction('f', 'call plain\njmp.d32 deeper\nret')}
       plain: test %edi, %edi\njne 1f\nret\n.byte 0x06\n1: mov $1, %eax\njmp f
       .p2align 4\n deeper: ret
       .p2align 4\n named: .type named, @function\nret`,
    );
    const fragments = made.analysis.units.filter(({ kind }) => kind === 'fragment');
    const ends = fragments.map(({ start, end, kept }) => ({ start, size: end - start, kept }));
    expect(ends).toEqual(
      [
        { start: made.at('plain'), size: 5, kept: NO_FDE },
        { start: made.at('plain') + 6, size: 7, kept: NO_FDE },
        { start: made.at('deeper'), size: 1, kept: NO_FDE },
        { start: made.at('named'), size: 1, kept: NO_FDE },
      ].map((one) => one),
    );
    expect(made.breakpoints()).toEqual([made.at('f')]);
    expect(made.references('f')).toHaveLength(2);
  });

  it('leads into functions, and gets no breakpoints where it is one unit with a function either', () => {
    const made = scene(
      `${fdeFunction('f', 'inc %eax\nmiddle: jmp near\nret')}
       near: test %edi, %edi\njne.d32 inner\nret
       ${fdeFunction('g', 'nop\ninner: inc %eax\nret')}`,
    );
    expect(made.unit('f')).toMatchObject({ kind: 'cluster', kept: NO_FDE });
    expect(made.unit('near')).toBe(made.unit('f'));
    expect(made.unit('g')).toMatchObject({ entries: [made.at('g'), made.at('inner')] });
    expect(made.kept('g')).toBeUndefined();
    expect(made.breakpoints()).toEqual([made.at('f'), made.at('g'), made.at('inner')]);
  });

  it('goes on behind a function that runs past the end of its FDE', () => {
    const made = scene(`${fdeFunction('f', 'nop')}after: inc %eax\nret`);
    expect(made.unit('after')).toMatchObject({ kind: 'fragment', start: made.at('after'), kept: NO_FDE });
  });

  it('ends before data that somebody reads or that a symbol names, and where it does not decode', () => {
    const made = scene(
      `${fdeFunction('f', 'mov read(%rip), %eax\ncall reads\nret')}
       reads: .type reads, @function\nnop\nread: ret
       .p2align 4\n symbol: .type symbol, @function\nnop\n.type data, @object\n.size data, 4\ndata: ret\n.long 0
       .p2align 4\n bad: .type bad, @function\nnop\n.byte 0x06`,
    );
    expect(made.analysis.units.map(({ start }) => start)).toEqual([made.at('f')]);
    expect(made.analysis.kept.map(({ reason, at }) => [reason, at])).toEqual(
      expect.arrayContaining([
        ['data inside the code', made.at('reads')],
        ['data inside the code', made.at('symbol')],
        ['does not decode as instructions', made.at('bad')],
      ]),
    );
  });

  it('that reads its own bytes, or has two readings, is none', () => {
    const made = scene(
      `${fdeFunction('f', 'ret')}
       own: .type own, @function\nmov own(%rip), %eax\nret
       .p2align 4\n two: .type two, @function\njne two + 3\nmov $0xc3c3c3c3, %eax\nret
       .p2align 4\n into: .type into, @function\njmp.d32 g + 2
       ${fdeFunction('g', 'mov $1, %eax\nret')}`,
    );
    expect(made.analysis.kept.map(({ reason, at }) => [reason, at])).toEqual([
      ['data inside the code', made.at('own')],
      ['a branch into the middle of an instruction', made.at('two')],
      ['a branch into the middle of an instruction', made.at('into')],
    ]);
    expect(made.kept('g')).toBeUndefined();
  });

  it('is not followed behind a call that takes its return address: data stands there', () => {
    const made = scene(
      `${fdeFunction('f', 'call trick\nret')}
       trick: call 1f\n.asciz "(bad)"\n1: pop %rax\nret`,
    );
    const fragments = made.analysis.units.filter(({ kind }) => kind === 'fragment');
    expect(fragments.map(({ start, end }) => [start - made.at('trick'), end - start])).toEqual([
      [0, 5],
      [11, 2],
    ]);
  });
});
