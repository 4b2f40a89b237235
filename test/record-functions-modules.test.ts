/** `winnow record --functions` where modules come and go, or are mapped only to be read. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { enteredNames, F, FunctionsScene } from './functions-scene.ts';
import { noteCodes } from './record-scene.ts';

const scene = new FunctionsScene();
afterAll(() => scene.close());

describe('what a program maps to read it', () => {
  const READER = `
    ${F} int late(int x) { return x; }
    int main(int n, char **v) {
      int fd = open(v[1], O_RDONLY); // The segment of code is the second page.
      unsigned char *at = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 4096);
      int breakpoints = 0;
      for (int i = 0; i < 4096; i++) if (at[i] == 0xcc) breakpoints++;
      for (unsigned char *p = (void *)late; p < (unsigned char *)late + 4; p++) if (*p == 0xcc) breakpoints++;
      printf("%d\\n", breakpoints);
    }`;
  const guest = scene.c('guest', `${F} int f(int x) { return x; } int main() { return f(0); }`);

  it('is left alone where the program is static: valgrind translates such code', () => {
    const reader = scene.c('translator', READER, '-static');
    const run = scene.sameRun([reader, guest]);
    expect(enteredNames(run, reader, /^main$/)).toEqual(['main']);
    expect(noteCodes(run)).toEqual(['N_CODE_TRANSLATED']);
  });

  it('has breakpoints where a dynamic loader may have mapped it', () => {
    const reader = scene.c('reader', READER);
    expect(scene.functions([reader, guest]).stdout).not.toBe(
      spawnSync(reader, [guest], { encoding: 'utf8' }).stdout,
    );
    const loader = /\S*\/ld-linux\S*/.exec(readFileSync('/proc/self/maps', 'utf8'))?.[0] ?? '';
    const { run } = scene.functions([loader, guest]);
    expect(enteredNames(run, guest, /^(main|f)$/)).toEqual(['main', 'f']);
    expect(noteCodes(run)).toEqual([]);
  });
});

describe('modules that come and go', () => {
  it('dlopen, dlclose and dlopen again', () => {
    const plugin = (name: string) =>
      scene.c(
        `lib${name}.so`,
        `${F} int ${name}_one(int x) { return x + 1; } ${F} int ${name}_two(int x) { return x + 2; }
         __attribute__((constructor)) void ${name}_begin(void) { } __attribute__((destructor)) void ${name}_end(void) { }`,
        '-shared',
        '-fPIC',
      );
    const [first, second] = [plugin('first'), plugin('second')];
    const program = scene.c(
      'opens',
      `int call(const char *path, const char *name, int x) {
         void *h = dlopen(path, RTLD_NOW); int (*f)(int) = dlsym(h, name);
         int r = f ? f(x) : x; printf("%d ", r); dlclose(h); return r; }
       int main() {
         int x = 0;
         for (int i = 0; i < 3; i++) x += call("${first}", "first_one", x);
         call("${second}", "none", x);
         for (int i = 0; i < 3; i++) x += call("${second}", "second_two", x) + call("${first}", "first_two", x);
         return x; }`,
      '-ldl',
    );
    const run = scene.sameRun([program]);
    expect(enteredNames(run, first, /^first_/)).toEqual([
      'first_begin',
      'first_one',
      'first_end',
      'first_two',
    ]);
    expect(enteredNames(run, second, /^second_/)).toEqual(['second_begin', 'second_end', 'second_two']);
  });

  it('a library that is replaced meanwhile: nothing is said of the new one', () => {
    const library = (name: string, source: string) => scene.c(name, source, '-shared', '-fPIC');
    const old = library('libreplaced.so', `${F} int f(void) { return 1; }`);
    const next = library(
      'libnext.so',
      `${F} int padding(int x) { return x * 3; } ${F} int f(void) { return 2; }`,
    );
    const program = scene.c(
      'replaces',
      `int main() { int (*f)(void) = dlsym(dlopen("${old}", RTLD_NOW), "f"); rename("${next}", "${old}"); return f(); }`,
      '-ldl',
    );
    const { run, status } = scene.functions([program]);
    expect(status).toBe(1);
    expect(enteredNames(run, program, /^main$/)).toEqual(['main']);
    const modules = run.entered.map(({ file }) => run.files[file]?.path);
    expect(modules).not.toContain(old);
  });

  it('code that is mapped over, at the same address, by another file', () => {
    // Raw code at offset 0 of an executable segment: what is mapped is what is called.
    const flat = (name: string, value: number) =>
      scene.c(
        name,
        `__attribute__((section(".flat"), aligned(4096))) ${F} int give(void) { return ${value}; }
         ${F} int other(void) { return 1; }`,
        '-shared',
        '-fPIC',
        '-nostdlib',
        '-Wl,--build-id=none',
      );
    const [one, two] = [flat('one.so', 11), flat('two.so', 22)];
    const offset = (path: string): number => {
      const found = /\.flat +PROGBITS +[0-9a-f]+ +([0-9a-f]+)/.exec(
        execFileSync('readelf', ['-SW', path], { encoding: 'utf8' }),
      );
      return Number.parseInt(found?.[1] ?? '', 16);
    };
    const program = scene.c(
      'overlays',
      `int main() {
         int a = open("${one}", O_RDONLY), b = open("${two}", O_RDONLY);
         char *at = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, a, ${offset(one)});
         int r = 0;
         for (int i = 0; i < 3; i++) {
           mmap(at, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, b, ${offset(two)});
           r += ((int (*)(void))at)();
           mmap(at, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, a, ${offset(one)});
         }
         r += ((int (*)(void))at)();
         munmap(at, 4096);
         char *again = mmap(at, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
         /* int3 of the program's own, where one of ours was: not ours any more. */
         again[0] = 0xcc;
         printf("%d %d", r, again[0] & 255); fflush(stdout);
         ((int (*)(void))at)();
         return r; }`,
    );
    const run = scene.sameRun([program]);
    expect(run.ended).toEqual({ kind: 'killed', signal: 5 });
    expect(enteredNames(run, one, /give|other/)).toEqual(['give']);
    expect(enteredNames(run, two, /give|other/)).toEqual(['give']);
  });

  it('a shared mapping is left alone, and so is its file', () => {
    const library = scene.c('libshared.so', `${F} int f(void) { return 5; }`, '-shared', '-fPIC');
    const before = readFileSync(library);
    const program = scene.c(
      'shares',
      `int main() { int fd = open("${library}", O_RDWR);
         char *at = mmap(0, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 4096);
         int n = 0; for (int i = 0; i < 4096; i++) n += (at[i] & 255) == 0xcc; return n; }`,
    );
    scene.sameRun([program]);
    expect(readFileSync(library)).toEqual(before);
  });
});
