/** Units of functions with an FDE, what leads from one to another, and modules that cannot be analysed. */
import { afterAll, describe, expect, it } from 'vitest';
import { type AnalysisScene, edited, sceneOf } from '../../test/support/analysis-scene.ts';
import { fdeFunction, Workshop } from '../../test/support/asm.ts';
import { readEhFrame } from '../elf/eh-frame.ts';
import { readElfFile } from '../elf/read.ts';
import { analyseModule, findUnitParts, unitAt } from './analyse.ts';
import { REFERENCE_BRANCH } from './model.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

const scene = (assembly: string, options?: readonly string[]): AnalysisScene =>
  sceneOf(workshop, assembly, options);

/** Without a symbol that others can name. */
const local = (assembly: string): string => assembly.replace(/^\.globl.*\n/, '');

const hex = (at: number): string => `0x${at.toString(16)}`;

describe('functions with an FDE', () => {
  it('are units with their start as entry; what leads from one to another is a reference', () => {
    const made = scene(
      `${fdeFunction('first', 'lea second(%rip), %rax\ncall second\nmov data(%rip), %ecx\nret')}
       ${fdeFunction('second', 'test %edi, %edi\nje 1f\nnop\n1: ret')}
       .data\ndata: .long 1`,
    );
    expect(made.unit('first')).toEqual({
      kind: 'function',
      start: made.at('first'),
      end: made.at('second'),
      entries: [made.at('first')],
      fallsThrough: false,
    });
    expect(unitAt(made.analysis, made.at('second') + 1)).toBe(made.unit('second'));
    expect(unitAt(made.analysis, made.at('first') - 1)).toBeUndefined();
    expect(unitAt(made.analysis, made.unit('second').end)).toBeUndefined();
    const target = hex(made.at('second'));
    expect(made.references('first')).toEqual([`address ${target}`, `branch ${target}`]);
    expect(made.analysis.references).toMatchObject({
      field: Uint32Array.of(made.at('first') + 3, made.at('first') + 8),
      tail: Uint8Array.of(4, 4),
    });
    expect(made.breakpoints()).toEqual([made.at('first'), made.at('second')]);
  });

  it('have the distance from a field to the end of its instruction, immediates included', () => {
    const { analysis } = scene(
      fdeFunction('f', 'cmpl $7, g(%rip)\njne.d32 g\nret') + fdeFunction('g', 'nop\nret'),
    );
    expect([...analysis.references.tail]).toEqual([5, 4]);
  });

  it('run past their end where the last instruction lets them', () => {
    const made = scene(
      fdeFunction('plain', 'nop') +
        fdeFunction('conditional', '1: jne 1b') +
        fdeFunction('calls', 'call plain') +
        fdeFunction('jumps', 'jmp *%rax') +
        fdeFunction('returns', 'ret') +
        fdeFunction('stops', 'ud2'),
    );
    const names = ['plain', 'conditional', 'calls', 'jumps', 'returns', 'stops'];
    expect(names.filter((name) => made.unit(name).fallsThrough)).toEqual(['plain', 'conditional', 'calls']);
  });

  it('are entered where branches, addresses behind nops, relocations and symbols lead', () => {
    const made = scene(
      `${fdeFunction('f', 'nop\nbehind: .globl symbol\n.type symbol, @function\nsymbol: inc %eax\nlong: dec %eax\npointed: ret')}
       ${fdeFunction('g', 'lea behind(%rip), %rax\njmp.d32 long')}
       .data\n.quad pointed, f + 2`,
    );
    const f = made.at('f');
    // f + 2 is inside an instruction: data, if anything, so that nothing but the start counts.
    expect(made.unit('f')).toMatchObject({ entries: [f], kept: 'data inside the code' });
    const sound = scene(
      `${fdeFunction('f', 'nop\nbehind: .globl symbol\n.type symbol, @function\nsymbol: inc %eax\nlong: dec %eax\npointed: ret')}
       ${fdeFunction('g', 'lea behind(%rip), %rax\njmp.d32 long')}
       .data\n.quad pointed`,
    );
    expect(sound.unit('f').entries).toEqual([f, f + 1, f + 3, f + 5]);
    expect(sound.kept('f')).toBeUndefined();
  });
});

describe('clusters', () => {
  it('are neighbours that short branches join, with the padding between', () => {
    const made = scene(
      `${fdeFunction('a', 'jmp b + 1')}.p2align 5\n${fdeFunction('b', 'nop\nret')}
       ${fdeFunction('c', 'call b\njmp.d32 a')}`,
    );
    const cluster = made.unit('a');
    expect(made.unit('b')).toBe(cluster);
    expect(cluster).toEqual({
      kind: 'cluster',
      start: made.at('a'),
      end: made.at('b') + 2,
      entries: [made.at('a'), made.at('b')],
      fallsThrough: false,
    });
    expect(made.references('c')).toEqual([`branch ${hex(made.at('b'))}`, `branch ${hex(made.at('a'))}`]);
    expect(made.references('a')).toEqual([]);
  });

  it('take in whole functions between, and grow with them', () => {
    const made = scene(
      `${fdeFunction('a', '.globl c\njmp c')}${fdeFunction('b', '.globl d\njmp d')}
       ${fdeFunction('c', 'ret')}${fdeFunction('d', 'ret')}${fdeFunction('e', 'ret')}`,
    );
    expect(['a', 'b', 'c', 'd'].map((name) => made.unit(name).start)).toEqual(Array(4).fill(made.at('a')));
    expect(made.unit('e').kind).toBe('function');
  });

  it('stay where data is between their parts, or one part must stay', () => {
    const apart = scene(`${fdeFunction('a', '.byte 0xeb, 1')}.byte 0x06\n${fdeFunction('b', 'ret')}`);
    expect(apart.unit('a')).toMatchObject({ kind: 'cluster', kept: 'no code between its parts' });
    const used = `${fdeFunction('a', 'jmp b\nmov gap(%rip), %eax')}gap: nop\n${fdeFunction('b', 'ret')}`;
    expect(scene(used).kept('a')).toBe('no code between its parts');
    const one = scene(fdeFunction('a', 'jmp b') + fdeFunction('b', '1: lea 1b(%rip), %rax\nret'));
    expect(one.unit('a')).toMatchObject({ kind: 'cluster', kept: 'computes with its own address' });
    expect(one.unit('b')).toBe(one.unit('a'));
  });

  it('are not made with what is no unit: the branch stays, and its function', () => {
    const made = scene(`${fdeFunction('a', '.byte 0x74, 1\nret')}.byte 0x06`);
    expect(made.kept('a')).toBe('a short branch to code that has no unit');
    expect(made.analysis.kept).toEqual([
      { kind: 'kept', reason: 'does not decode as instructions', at: made.at('a') + 3 },
    ]);
  });
});

describe('parts of one function', () => {
  const split = scene(
    `${fdeFunction('foo', 'test %edi, %edi\njs foo.cold + 1\nback: ret\njmp.d32 other')}
     ${fdeFunction('other', 'call foo.cold\nret')}
     .section .text.unlikely, "ax"\n${fdeFunction('foo.cold', 'nop\nneg %edi\njmp back')}`,
  );

  it('are told by jumps into their middle, not by calls and jumps to their start', () => {
    const { inside, partsOf } = findUnitParts(split.image, split.analysis);
    expect(partsOf(split.unit('foo'))).toEqual([split.unit('foo.cold')]);
    expect(partsOf(split.unit('other'))).toEqual([]);
    const places = [split.at('foo'), split.at('foo.cold') + 1, split.at('other')];
    expect(places.map(inside(split.unit('foo.cold')))).toEqual([true, true, false]);
    expect([...new Set(split.analysis.references.kind)]).toEqual([REFERENCE_BRANCH]);
  });

  it('that can be entered otherwise have breakpoints wherever they lead', () => {
    expect(split.unit('foo').entries).toEqual([split.at('foo'), split.at('foo') + 8]);
    expect(split.breakpoints()).toEqual(
      [
        split.at('foo.cold'),
        split.at('foo.cold') + 1,
        split.at('foo'),
        split.at('foo') + 8,
        split.at('other'),
      ].toSorted((a, b) => a - b),
    );
  });

  it('that only their function leads to have none where they lead back', () => {
    const closed = scene(
      `${fdeFunction('foo', 'test %edi, %edi\njs foo.cold + 1\nback: ret')}
       .section .text.unlikely, "ax"\n${local(fdeFunction('foo.cold', 'nop\nneg %edi\njmp back'))}`,
    );
    expect(closed.unit('foo').entries).toEqual([closed.at('foo'), closed.at('foo') + 8]);
    expect(closed.breakpoints()).toEqual(
      [closed.at('foo.cold'), closed.at('foo.cold') + 1, closed.at('foo')].toSorted((a, b) => a - b),
    );
  });
});

describe('modules that stay as a whole', () => {
  const library = workshop.library(fdeFunction('f', 'ret'));
  const reasonOf = (image: typeof library): unknown => analyseModule(image);

  it('are object files and files of other kinds', () => {
    const object = workshop.build(fdeFunction('f', 'ret'), 's', ['-c']);
    expect(reasonOf(readElfFile(object))).toEqual({ kind: 'kept', reason: 'neither program nor library' });
  });

  it('reach above 4 GiB', () => {
    const high = workshop.library(fdeFunction('f', 'ret'), [
      ...['-shared', '-nostdlib', '-Wl,-Ttext-segment=0x100000000'],
    ]);
    expect(reasonOf(high)).toEqual({ kind: 'kept', reason: 'addresses above 4 GiB' });
  });

  it('have damaged tables', () => {
    const [fde] = readEhFrame(library).fdes;
    const at = library.offsetOf(fde?.at ?? library.header.entry) ?? 0;
    const damaged = edited(library, (view) => view.setUint32(at, 0x7fff_fff0, true));
    expect(reasonOf(damaged)).toEqual({ kind: 'kept', reason: 'damaged: E_ELF_EH_FRAME' });
  });

  it('have a runtime that knows its code by address', () => {
    const reason = { kind: 'kept', reason: 'a runtime that knows its code by address' };
    const sources = [
      '.section .gopclntab, "a"\n.long 0xfffffff1',
      '.section .note.go.buildid, "a", @note\n.long 3, 2, 4\n.asciz "Go"\n.balign 4\n.asciz "x"',
      '.data\n.globl caml_frametable\ncaml_frametable: .quad 0',
      '.section .llvm_stackmaps, "a"\n.quad 3',
    ];
    for (const source of sources) {
      expect(reasonOf(workshop.library(`${fdeFunction('f', 'ret')}${source}`))).toEqual(reason);
    }
  });

  it('are none that has no code at all', () => {
    const path = workshop.build('.data\n.globl d\nd: .long 1', 's', [
      ...['-shared', '-nostdlib', '-Wl,--no-ld-generated-unwind-info'],
    ]);
    const analysis = reasonOf(readElfFile(path));
    expect(analysis).toMatchObject({ units: [], kept: [], breakpoints: new Uint32Array() });
  });
});
