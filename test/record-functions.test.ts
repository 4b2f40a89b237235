/** `winnow record --functions`: what is entered, in which order, and that the program runs as it does alone. */
import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { enteredNames, F, FunctionsScene } from './functions-scene.ts';
import { AS_NOBODY, noteCodes, pagesOf } from './record-scene.ts';

const scene = new FunctionsScene();
afterAll(() => scene.close());

describe('the order of first use', () => {
  it('begins before main and ends behind it', () => {
    const program = scene.c(
      'order',
      `${F} void a(void) { puts("a"); } ${F} void b(void) { puts("b"); } ${F} void c(void) { puts("c"); }
       ${F} void never(void) { puts("never"); }
       __attribute__((constructor)) void begin(void) { c(); }
       __attribute__((destructor)) void end(void) { b(); }
       int main(int n, char **v) { a(); c(); a(); if (n > 5) never(); return 7; }`,
    );
    const run = scene.sameRun([program]);
    expect(enteredNames(run, program, /^(_start|main|begin|end|a|b|c|never)$/)).toEqual([
      '_start',
      'begin',
      'c',
      'main',
      'a',
      'end',
      'b',
    ]);
    expect(run.ended).toEqual({ kind: 'exited', code: 7 });
    expect(run.method.functions).toBe('seen');
    // The loader and libc are modules like others.
    const modules = run.entered.map(({ file }) => run.files[file]?.path ?? '');
    expect(modules.filter((path) => /ld-linux|libc\.so/.test(path))).toHaveLength(2);
  });

  it('is told to the person', () => {
    const program = scene.c('told', 'int main() { return 0; }');
    expect(scene.functions([program]).stderr).toMatch(/look-ups, [0-9]+ functions in 3 modules in/);
  });

  it('knows IFUNC resolvers and constructors of libraries, which run before the program', () => {
    const library = scene.c(
      'libifunc.so',
      `${F} static int chosen(int x) { return x * 3; }
       ${F} static void *resolve(void) { return chosen; }
       int picked(int) __attribute__((ifunc("resolve")));
       __attribute__((constructor)) void begin(void) { picked(1); }
       ${F} int unused(int x) { return x; }`,
      '-shared',
      '-fPIC',
      // Resolved when it is loaded, not at the first call.
      '-Wl,-z,now',
    );
    const program = scene.c('ifunc', 'int picked(int); int main() { return picked(5); }', library);
    const run = scene.sameRun([program]);
    expect(enteredNames(run, library, /^(resolve|begin|chosen|unused)$/)).toEqual([
      'resolve',
      'begin',
      'chosen',
    ]);
  });

  it.each([
    ['static', '-static'],
    ['static-pie', '-static-pie'],
    ['at a fixed address', '-no-pie'],
  ])('is there for a program that is linked %s', (name, flag) => {
    const source = `${F} int a(int x) { return x + 1; } ${F} int b(int x) { return a(x) * 2; }
      int main() { printf("%d", b(20)); return 42; }`;
    const program = scene.c(`linked-${name.replaceAll(' ', '-')}`, source, flag);
    const run = scene.sameRun([program]);
    expect(enteredNames(run, program, /^(_start|main|a|b)$/)).toEqual(['_start', 'main', 'b', 'a']);
  });
});

describe('an ordinary user', () => {
  it('needs neither root nor a cache that can be written', () => {
    const program = scene.c('ordinary', `${F} int a(int x) { return x + 1; } int main() { return a(4); }`);
    const { run, status } = scene.functions([program], { through: AS_NOBODY });
    expect(status).toBe(5);
    expect(enteredNames(run, program, /^(main|a)$/)).toEqual(['main', 'a']);
  });

  it('is told where the filter, which tells of modules, is not for a program', () => {
    const program = scene.c('other-rights', 'int main() { return 3; }');
    chmodSync(program, 0o4755);
    const { run, status } = scene.functions([program], { through: AS_NOBODY });
    expect(status).toBe(3);
    expect(run.method.functions).toBe('unseen');
    expect(run.entered).toEqual([]);
    expect(noteCodes(run)).toContain('N_NO_FUNCTIONS');
  });
});

describe('the options', () => {
  it.each([
    ['--quick', ['--quick']],
    ['--no-filter', ['--no-filter']],
    ['--pid', ['--pid', String(process.pid)]],
  ])('%s does not go with --functions', (name, options) => {
    const command = name === '--pid' ? [] : ['true'];
    const { status, stderr } = scene.record(command, { options: ['--functions', ...options] });
    expect(status).toBe(2);
    expect(stderr).toContain('E_USAGE');
  });
});

it('a program that cannot be analysed runs without breakpoints, and the person is told', () => {
  const program = scene.c(
    'high',
    `__asm__(".globl _start\\n_start: mov $60, %eax\\nmov $9, %edi\\nsyscall");`,
    '-nostdlib',
    '-static',
    '-Wl,-Ttext-segment=0x200000000',
  );
  const run = scene.sameRun([program]);
  expect(run.ended).toEqual({ kind: 'exited', code: 9 });
  expect(run.entered).toEqual([]);
  expect(run.notes).toMatchObject([
    { code: 'N_CODE_KEPT', text: expect.stringMatching(/: high \(addresses above 4 GiB\)$/) },
  ]);
});

describe('pages in a run with breakpoints', () => {
  const PAGES = 64;
  const source = `${Array.from({ length: PAGES }, (_, n) => `${F} __attribute__((aligned(4096))) int p${n}(int x) { return x + ${n}; }`).join('\n')}
    int main() { return p3(1) + p40(2); }`;

  it('are those of the functions that were entered', () => {
    const program = scene.c('paged', source);
    const [first = 0] = readElfPage(program, 'p0');
    const plain = pagesOf(scene.record([program]).run, program, 'mapped').map((page) => page - first);
    const run = scene.sameRun([program]);
    const seen = pagesOf(run, program, 'mapped').map((page) => page - first);
    const functions = (pages: number[]) => pages.filter((page) => page >= 0 && page < PAGES);
    // main stands behind the last of them.
    expect(functions(plain)).toEqual([3, 40, 63]);
    expect(functions(seen)).toEqual([3, 40, 63]);
    expect(noteCodes(run)).toEqual([]);
  });
});

/** The page of a file that holds a symbol. */
function readElfPage(path: string, name: string): number[] {
  const line = new RegExp(`^([0-9a-f]+) T ${name}$`, 'm').exec(
    execFileSync('nm', [path], { encoding: 'utf8' }),
  );
  // In programs that gcc links, code stands in the file at its own address.
  return [Number.parseInt(line?.[1] ?? '', 16) / 4096];
}
