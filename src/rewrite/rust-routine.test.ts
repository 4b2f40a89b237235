/** Which routines are taken for Rust's where nothing names them, by modules made of assembly. */
import { afterAll, describe, expect, it } from 'vitest';
import { addressOf, fdeFunction, Workshop } from '../../test/support/asm.ts';
import { rva } from '../base/brands.ts';
import { readEhFrame } from '../elf/eh-frame.ts';
import type { ElfImage } from '../elf/image.ts';
import { Personalities } from '../elf/personality.ts';
import { analyseModule } from './analyse.ts';
import { isRustRoutine } from './rust-routine.ts';

const workshop = new Workshop();
afterAll(() => workshop.remove());

const EXCEPTION_CLASS = '.section .rodata\n.ascii "TSUR\\0ZOM"\n.text\n';
const DIRECT = '_Unwind_GetLanguageSpecificData@PLT\ncall _Unwind_GetIPInfo@PLT';
const ROUTINE = `push %rbx\ncall ${DIRECT}\ncall rest\npop %rbx\nret`;
const REST = 'call *_Unwind_GetRegionStart@GOTPCREL(%rip)\njmp _Unwind_SetIP@PLT';

/** A module whose function `f` can be cut if somebody known reads where it lands; `routine` is no symbol of a function. */
const moduleOf = (routine: string, rest: string, data: string): ElfImage =>
  workshop.library(`.text
routine: .cfi_startproc\n${routine}\n.cfi_endproc
rest: .cfi_startproc\n${rest}\n.cfi_endproc
.globl f\n.type f, @function\nf: .cfi_startproc\n.cfi_personality 0x9b, slot\n.cfi_lsda 0x1b, area
call *%rax\n.fill 60, 1, 0x90\nret\npad: .fill 90, 1, 0x90\nret\n.cfi_endproc
.data\n.balign 8\nslot: .quad routine
.section .gcc_except_table, "a"\narea: .byte 0xff, 0xff, 1, 4, 0, 5, pad - f, 0
${fdeFunction('other', 'ret').replace(/^/, '.text\n')}${data}`);

/** Whether the routine is taken for Rust's, and in how many parts `f` is cut. */
function judged(image: ElfImage): [boolean, number] {
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  const at = addressOf(image, 'f');
  const first = analysis.units.findIndex(({ start }) => start === at);
  const behind = analysis.units.slice(first + 1);
  const more = behind.findIndex(({ kind }) => kind !== 'part');
  return [isRustRoutine(image, rva(addressOf(image, 'routine'))), 1 + (more < 0 ? behind.length : more)];
}

describe('a personality routine without a name', () => {
  it('is Rust’s where it and what it calls ask the unwinder, in a module that throws as Rust does', () => {
    const image = moduleOf(ROUTINE, REST, EXCEPTION_CLASS);
    expect(judged(image)).toEqual([true, 2]);
    const [cie] = readEhFrame(image).cies.filter(({ personality }) => personality !== undefined);
    if (cie === undefined) throw new Error('no CIE');
    const personalities = new Personalities(image);
    expect(personalities.nameOf(cie)).toBeUndefined();
    expect(personalities.routineOf(cie)).toBe(addressOf(image, 'routine'));
  });

  it.each([
    ['nothing in the module is thrown by Rust', ROUTINE, REST, ''],
    ['the class is another one', ROUTINE, REST, EXCEPTION_CLASS.replace('TSUR', 'TSUS')],
    [
      'it does not ask for the data area',
      ROUTINE.replace('LanguageSpecificData', 'CFA'),
      REST,
      EXCEPTION_CLASS,
    ],
    ['it never sets where to go on', ROUTINE, REST.replace('SetIP', 'SetGR'), EXCEPTION_CLASS],
    ['it does not call what asks', ROUTINE.replace('call rest\n', ''), REST, EXCEPTION_CLASS],
  ])('is not, where %s', (_, routine, rest, data) => {
    expect(judged(moduleOf(routine, rest, data))).toEqual([false, 1]);
  });

  it('is not any function beside it', () => {
    const image = moduleOf(ROUTINE, REST, EXCEPTION_CLASS);
    expect(isRustRoutine(image, rva(addressOf(image, 'other')))).toBe(false);
  });
});
