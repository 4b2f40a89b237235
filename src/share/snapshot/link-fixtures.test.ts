/** What glibc's loader can make of a program: each in a small program, whose image equals a fresh run. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import {
  comparedWithFreshRun,
  linked,
  pagesOf,
  SnapshotScene,
} from '../../../test/support/snapshot-scene.ts';
import { ANCHORS, type LinkedState } from '../model.ts';

const scene = new SnapshotScene();
afterAll(() => scene.remove());

function linkedAndJudged(path: string): LinkedState {
  const state = linked(path);
  expect(comparedWithFreshRun(state).wrong).toEqual([]);
  return state;
}

const hasPointer = (state: LinkedState, standsIn: string, holds: (at: number) => boolean): boolean =>
  state.pointers.some((table) => table.standsIn === standsIn && table.at.some(holds));

describe('a program before its constructors', () => {
  it('has run no code of its own but resolvers: no constructor, no output', () => {
    const marker = scene.path('marker');
    const starts = `#include <stdio.h>
__attribute__((constructor)) static void start(void) { fclose(fopen("${marker}", "w")); puts("here"); }`;
    scene.library('libstart.so', `${starts}\nint f(void) { return 1; }`);
    const path = scene.program(
      'started',
      `${starts} int f(void); int main(void) { return f(); }`,
      'libstart.so',
    );
    linkedAndJudged(path);
    expect(existsSync(marker)).toBe(false);
  });

  it('with thread-local storage of every model', () => {
    const body = (
      name: string,
    ): string => `__thread int ${name} = 7, ${name}_zero; __thread char ${name}_far[9000] = "x";
int *${name}_at(void) { return ${name}_zero ? &${name} : (int *)${name}_far; }`;
    scene.library('libgd.so', body('gd'));
    scene.library('libie.so', body('ie'), '-ftls-model=initial-exec');
    scene.library('libdesc.so', body('desc'), '-mtls-dialect=gnu2');
    const main = `${body('own')} int *gd_at(void), *ie_at(void), *desc_at(void); extern __thread int ie;
int main(void) { return *own_at() + *gd_at() + *ie_at() + *desc_at() + ie; }`;
    const state = linkedAndJudged(scene.program('tls', main, 'libgd.so', 'libie.so', 'libdesc.so'));
    expect(state.threadPointer.anchor).toBe('arena');
  });

  it('with functions that a resolver chose', () => {
    const source = (
      name: string,
    ): string => `static int one(void) { return 1; } static int two(void) { return 2; }
static int (*choose_${name}(void))(void) { __builtin_cpu_init(); return __builtin_cpu_supports("sse2") ? one : two; }
int ${name}(void) __attribute__((ifunc("choose_${name}")));
int (*at_${name})(void) = ${name};`;
    scene.library('libifunc.so', source('f'));
    const main = `${source('g')} int f(void); extern int (*at_f)(void); int main(void) { return f() + g() + at_f(); }`;
    linkedAndJudged(scene.program('ifunc', main, 'libifunc.so'));
    linkedAndJudged(scene.program('ifunc-now', main, 'libifunc.so', '-Wl,-z,now'));
  });

  it('that is linked to fixed addresses and has copies of a library’s variables', () => {
    scene.library(
      'libdata.so',
      'int number = 5; char *text = "x"; int *at = &number; int *f(void) { return &number; }',
    );
    const main =
      'extern int number; extern char *text; extern int *at; int main(void) { return number + *text + *at; }';
    const state = linkedAndJudged(scene.program('copied', main, 'libdata.so', '-no-pie', '-fno-pie'));
    expect(state.extents.program.fixedAt).toBe(0);
    expect(state.extents.program.first).toBeGreaterThan(0);
    // The copy of `at` points to the program’s own `number`, which does not move.
    const program = ANCHORS.indexOf('program');
    expect(state.pointers.some(({ into }) => into.includes(program))).toBe(false);
  });

  it('with relative relocations in a packed table', () => {
    const source =
      'static int x[600]; int *table[600] = { [0] = x, [1] = x + 1, [5] = x + 5, [599] = x + 599 };';
    scene.library('librelr.so', source, '-Wl,-z,pack-relative-relocs');
    const path = scene.program(
      'relr',
      'extern int *table[]; int main(void) { return *table[5]; }',
      'librelr.so',
    );
    linkedAndJudged(path);
  });

  it.each([2, 8])('with a library that asks for an alignment of %i MiB', (mib) => {
    const page = `-Wl,-z,max-page-size=${mib * 2 ** 20}`;
    scene.library(`libwide${mib}.so`, 'static int x; int *at = &x; int f(void) { return *at; }', page);
    const main = 'int f(void); int main(void) { return f(); }';
    const state = linkedAndJudged(scene.program(`wide${mib}`, main, `libwide${mib}.so`));
    expect(state.extents.arena.align).toBe(mib * 2 ** 20);
  });

  it('that asks for an alignment of 2 MiB itself', () => {
    const source = 'static int x; int *at = &x; int main(void) { return *at; }';
    const state = linkedAndJudged(scene.program('wide', source, '-Wl,-z,max-page-size=0x200000'));
    expect(state.extents.program.align).toBe(2 ** 21);
  });

  it('with pointers at odd addresses, side by side and over the ends of pages', () => {
    const source = `static char x[4096];
struct __attribute__((packed)) one { char c; char *at; } __attribute__((packed));
struct one table[1200] = { ${Array.from({ length: 1200 }, (_, i) => `{${i % 100}, x + ${i}}`).join(', ')} };
int main(void) { return *table[7].at; }`;
    const state = linkedAndJudged(scene.program('packed', source));
    expect(hasPointer(state, 'program', (at) => at % 8 !== 0)).toBe(true);
    expect(hasPointer(state, 'program', (at) => at % 4096 > 4088)).toBe(true);
    expect(state.pointers.find(({ standsIn }) => standsIn === 'program')?.at.length).toBeGreaterThan(1200);
  });

  it('with text that is relocated, and pages that are written with what they had', () => {
    const text =
      'asm(".pushsection .text; .globl t; t: .quad t; .popsection"); extern char t[]; int main(void) { return t != 0; }';
    linkedAndJudged(scene.program('textrel', text, '-Wl,-z,notext'));
  });

  it('has no page that its file has as it is', () => {
    const state = linked('/usr/bin/true');
    for (const { source, dirty } of state.mappings) {
      const file = source === undefined ? undefined : readFileSync(state.files[source.file]?.path ?? '');
      for (const { offset, bytes } of dirty) {
        const page = Buffer.alloc(4096);
        file?.copy(page, 0, (source?.offset ?? 0) + offset, (source?.offset ?? 0) + offset + 4096);
        expect(page.equals(bytes)).toBe(false);
      }
    }
    expect(pagesOf(state)).toBeGreaterThan(10);
  });
});
