/** Small programs with libraries of every kind of binding: versions, symbolic, protected, weak, copied, unique. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Closure, readClosure } from '../../src/share/closure/modules.ts';

const VERSIONED = `
#include <stddef.h>
int old_f(void) { return 1; }
int new_f(void) { return 2; }
__asm__(".symver old_f,f@V1");
__asm__(".symver new_f,f@@V2");
int shared_data = 7;
int *shared_at(void) { return &shared_data; }
__attribute__((visibility("protected"))) int guarded(void) { return 3; }
int call_guarded(void) { return guarded(); }
__thread int counter = 5;
int next(void) { return ++counter; }
int twice(int x) { return 2 * x; }
const char *names[] = {"one", "two", "three"};
const char *name_of(int i) { return names[i]; }
static int fast(int x) { return x + 100; }
static int (*choose(void))(int) { return fast; }
int chosen(int x) __attribute__((ifunc("choose")));
`;

const SYMBOLIC = `
#include <stdio.h>
extern int f(void);
extern int twice(int), chosen(int), next(void);
extern int missing(void) __attribute__((weak));
int twice_here(void) { return 20; }
int own(void) { return 30; }
int (*table[])(void) = {f, own, next, missing};
extern int shared_data;
int *far_data = &shared_data;
static int started;
__attribute__((constructor)) static void start(void) { started = 1; }
void tell(void) {
  printf("%d %d %d %d %d %d %p %d\\n", table[0](), table[1](), twice(4), chosen(1), *far_data, started,
         (void *)(long)(missing ? 1 : 0), table[2]());
}
`;

const MAIN = `
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
extern int shared_data, f(void), call_guarded(void), next(void), own(void), twice(int);
extern int *shared_at(void);
extern const char *name_of(int);
extern void tell(void);
int own(void) { return 31; }
int (*pointer)(int) = twice;
int main(int argc, char **argv) {
  char *copy = malloc(strlen(argv[0]) + 1);
  strcpy(copy, argv[0]);
  shared_data += argc;
  printf("%d %d %d %d %d %s %d %d\\n", f(), call_guarded(), next(), own(), pointer(21), name_of(2),
         shared_data == *shared_at(), strcmp(copy, argv[0]));
  tell();
  free(copy);
  return 0;
}
`;

/** Of the libraries: how they are linked. */
export interface LinkedMake {
  readonly name: string;
  readonly library?: readonly string[];
  readonly program?: readonly string[];
}

export const LINKED_MAKES: readonly LinkedMake[] = [
  { name: 'lazy', library: ['-Wl,-z,lazy'], program: ['-Wl,-z,lazy'] },
  { name: 'now', library: ['-Wl,-z,now'], program: ['-Wl,-z,now'] },
  { name: 'relr', library: ['-Wl,-z,pack-relative-relocs'] },
  { name: 'symbolic', library: ['-Wl,-Bsymbolic'] },
  { name: 'no-plt', library: ['-fno-plt'], program: ['-fno-plt'] },
  { name: 'large-pages', library: ['-Wl,-z,max-page-size=0x200000'] },
  { name: 'sysv-hash', library: ['-Wl,--hash-style=sysv'] },
  { name: 'tls-descriptors', library: ['-mtls-dialect=gnu2'] },
  { name: 'fixed', program: ['-no-pie', '-fno-pie'] },
];

export class LinkedScene {
  readonly folder: string;

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'winnow-linked-'));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  path(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  /** A program without modules. */
  compileStatic(path: string): void {
    writeFileSync(`${path}.c`, 'int main(void) { return 0; }\n');
    execFileSync('gcc', ['-static', '-o', path, `${path}.c`], { stdio: 'pipe' });
  }

  /** Makes `NAME/main`, `NAME/libone.so` and `NAME/libtwo.so`; returns the program's path. */
  make({ name, library = [], program = [] }: LinkedMake): string {
    const folder = this.path(name);
    const file = (base: string, text: string): string => {
      writeFileSync(join(folder, base), text);
      return base;
    };
    const gcc = (...args: readonly string[]): void => {
      execFileSync('gcc', args, { cwd: folder, stdio: 'pipe' });
    };
    execFileSync('mkdir', ['-p', folder]);
    const map = file('one.map', 'V1 { global: *; };\nV2 { global: f; } V1;\n');
    const shared = ['-O1', '-shared', '-fPIC', ...library];
    gcc(
      ...shared,
      file('one.c', VERSIONED),
      `-Wl,--version-script=${map}`,
      '-Wl,-soname,libone.so',
      '-o',
      'libone.so',
    );
    gcc(
      ...shared,
      file('two.c', SYMBOLIC),
      './libone.so',
      '-Wl,-soname,libtwo.so',
      '-Wl,-rpath,$ORIGIN',
      '-o',
      'libtwo.so',
    );
    gcc('-O1', ...program, file('main.c', MAIN), '-L.', '-ltwo', '-lone', '-Wl,-rpath,$ORIGIN', '-o', 'main');
    return join(folder, 'main');
  }
}

/** The modules of a program that has some. */
export function closureOf(program: string): Closure {
  const closure = readClosure(program, {});
  if ('kind' in closure) throw new Error(closure.reason);
  return closure;
}

/** What the loader itself binds, without running the program: `from|to|symbol|version`, sorted. */
export function loaderBindings(program: string): string[] {
  const done = spawnSync(program, [], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { LD_TRACE_LOADED_OBJECTS: '1', LD_WARN: '1', LD_BIND_NOW: '1', LD_DEBUG: 'bindings' },
  });
  const line =
    /binding file (\S+) \[0\] to (\S+) \[0\]: (?:normal|protected) symbol `(.+?)'(?: \[(.+)\])?$/gm;
  const found = [...done.stderr.matchAll(line)].map(([, from, to, symbol, version = '']) =>
    [from, to, symbol, version].join('|'),
  );
  return [...new Set(found)].filter((text) => !text.startsWith('linux-vdso')).sort();
}
