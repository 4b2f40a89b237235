/** `winnow record --functions`: what is entered, in which order, and that the program runs as it does alone. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { enteredNames, F, FunctionsScene } from './functions-scene.ts';
import { AS_NOBODY, noteCodes, pagesOf } from './record-scene.ts';

const scene = new FunctionsScene();
afterAll(() => scene.close());

/** Runs a program alone and recorded: output and end must be the same. Returns the run. */
function sameRun(command: readonly string[]) {
  const alone = spawnSync(command[0] ?? '', command.slice(1), { cwd: scene.folder, encoding: 'utf8' });
  const { run, stdout, status, signal } = scene.functions(command);
  expect({ stdout, status, signal }).toEqual({
    stdout: alone.stdout,
    status: alone.status,
    signal: alone.signal,
  });
  return run;
}

/** Every third of 300 functions `f0` to `f299` that add their number. */
const MANY = `${Array.from({ length: 300 }, (_, n) => `${F} int f${n}(int x) { return x + ${n}; }`).join('\n')}
int (*table[300])(int) = { ${Array.from({ length: 300 }, (_, n) => `f${n}`).join(', ')} };`;
const THIRDS = Array.from({ length: 100 }, (_, n) => `f${n * 3}`);

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
    const run = sameRun([program]);
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
    const run = sameRun([program]);
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
    const run = sameRun([program]);
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
  const run = sameRun([program]);
  expect(run.ended).toEqual({ kind: 'exited', code: 9 });
  expect(run.entered).toEqual([]);
  expect(run.notes).toMatchObject([
    { code: 'N_CODE_KEPT', text: expect.stringMatching(/: high \(addresses above 4 GiB\)$/) },
  ]);
});

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
    const run = sameRun([reader, guest]);
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
    const run = sameRun([program]);
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
    const run = sameRun([program]);
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
    sameRun([program]);
    expect(readFileSync(library)).toEqual(before);
  });
});

describe('processes', () => {
  it('fork: parent and child enter their own, and what both enter counts once', () => {
    const program = scene.c(
      'forks',
      `${MANY}
       ${F} int parent_only(void) { return 3; } ${F} int child_only(void) { return 4; } ${F} int both(void) { return 5; }
       int main() {
         int sum = 0;
         for (int round = 0; round < 20; round++) {
           pid_t id = fork();
           /* Both run into the same breakpoints, the parent while the child may not have been heard of. */
           for (int i = 0; i < 300; i += 3) sum += table[i](round);
           if (id == 0) _exit((child_only() + both() + sum) & 127);
           int status; parent_only(); both();
           waitpid(id, &status, 0); printf("%d ", WEXITSTATUS(status));
         }
         return 0; }`,
    );
    const run = sameRun([program]);
    const named = enteredNames(run, program, /^(f[0-9]+|main|parent_only|child_only|both)$/);
    expect(named).toHaveLength(104);
    expect(named.filter((name) => name.startsWith('f'))).toEqual(THIRDS);
    expect(run.processes).toHaveLength(21);
  });

  it('vfork and posix_spawn: the child uses its parent’s memory until it execs', () => {
    const child = scene.c(
      'spawned',
      `${F} int inside(int n) { return n + 2; } int main(int n, char **v) { return inside(n); }`,
    );
    const program = scene.c(
      'spawns',
      `${F} int in_child(int x) { return x + 1; } ${F} int after(int x) { return x * 2; }
       int main() {
         int status, sum = 0; char *words[] = { "${child}", 0 };
         pid_t id = vfork();
         if (id == 0) { volatile int x = in_child(1); execv(words[0], words); _exit(1); }
         waitpid(id, &status, 0); sum += WEXITSTATUS(status);
         posix_spawn(&id, words[0], 0, 0, words, environ);
         waitpid(id, &status, 0); sum += WEXITSTATUS(status);
         /* What the child entered in this memory has no breakpoint left here. */
         return after(in_child(sum)); }`,
    );
    const run = sameRun([program]);
    expect(enteredNames(run, program, /^(main|in_child|after)$/)).toEqual(['main', 'in_child', 'after']);
    expect(enteredNames(run, child, /^(main|inside)$/)).toEqual(['main', 'inside']);
  });

  it('two processes in one memory', () => {
    const program = scene.c(
      'shares-memory',
      `${MANY}
       static volatile int sum;
       int child(void *x) { for (int i = 0; i < 150; i += 3) sum += table[i](1); void *h = dlopen("libm.so.6", RTLD_NOW); return h != 0; }
       int main() {
         char *stack = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         pid_t id = clone(child, stack + (1 << 20), CLONE_VM | SIGCHLD, 0);
         int status; waitpid(id, &status, 0);
         /* The child mapped it; its breakpoints are met here. */
         double (*f)(double) = dlsym(dlopen("libm.so.6", RTLD_NOW), "cbrt");
         for (int i = 0; i < 300; i += 3) sum += table[i](1);
         printf("%d %d %g", WEXITSTATUS(status), sum, f(27)); return 0; }`,
      '-ldl',
    );
    expect(enteredNames(sameRun([program]), program, /^f[0-9]+$/)).toEqual(THIRDS);
  });

  it('a child that outlives its parent', () => {
    const program = scene.c(
      'outlives',
      `${F} int late(int x) { return x + 1; }
       int main() {
         int p[2]; pipe(p);
         for (int i = 0; i < 3; i++) if (fork()) _exit(0);
         usleep(20000); printf("%d", late(41)); fflush(stdout); return 0; }`,
    );
    const run = scene.functions([program]).run;
    expect(enteredNames(run, program, /^(main|late)$/)).toEqual(['main', 'late']);
  });

  it('a crash in the middle', () => {
    const program = scene.c(
      'crashes',
      `${F} int before(void) { return 1; } ${F} int crash(volatile int *p) { return *p; } ${F} int behind(void) { return 2; }
       int main() { before(); puts("so far"); fflush(stdout); crash((int *)16); return behind(); }`,
    );
    const run = sameRun([program]);
    expect(run.ended).toEqual({ kind: 'killed', signal: 11 });
    expect(enteredNames(run, program, /^(main|before|crash|behind)$/)).toEqual(['main', 'before', 'crash']);
  });
});

describe('threads and signals', () => {
  it('threads that run into the same breakpoints', () => {
    const program = scene.c(
      'races',
      `${MANY}
       static pthread_barrier_t gate;
       void *work(void *x) { long sum = 0;
         for (int i = 0; i < 300; i += 3) { if (i % 30 == 0) pthread_barrier_wait(&gate); sum += table[i](1); }
         return (void *)sum; }
       int main() {
         pthread_t t[8]; long sum = 0; pthread_barrier_init(&gate, 0, 8);
         for (int i = 0; i < 8; i++) pthread_create(&t[i], 0, work, 0);
         for (int i = 0; i < 8; i++) { void *r; pthread_join(t[i], &r); sum += (long)r; }
         printf("%ld", sum); return 0; }`,
      '-pthread',
    );
    expect(enteredNames(sameRun([program]), program, /^f[0-9]+$/).sort()).toEqual([...THIRDS].sort());
  });

  it('signals that come at any time, with handlers that are entered for the first time', () => {
    const program = scene.c(
      'signals',
      `${MANY}
       static volatile int ticks, handled;
       ${F} void on_alarm(int s) { ticks++; } ${F} void on_usr(int s) { handled += table[ticks % 300](0) > -1; }
       int main() {
         signal(SIGALRM, on_alarm); signal(SIGUSR1, on_usr);
         struct itimerval every = { { 0, 300 }, { 0, 300 } }; setitimer(ITIMER_REAL, &every, 0);
         long sum = 0;
         for (int i = 0; i < 300; i += 3) { sum += table[i](1); if (i % 50 == 0) raise(SIGUSR1); }
         while (ticks < 5) ;
         printf("%ld %d", sum, handled); return 0; }`,
    );
    const run = sameRun([program]);
    expect(enteredNames(run, program, /^on_/).sort()).toEqual(['on_alarm', 'on_usr']);
    expect(enteredNames(run, program, /^f[0-9]+$/)).toEqual(expect.arrayContaining(THIRDS));
  });

  it('a program with a handler for SIGTRAP and breakpoints of its own', () => {
    const program = scene.c(
      'traps',
      `${MANY}
       static volatile int traps, sum;
       /* Enters something new each time, while SIGTRAP is blocked. */
       ${F} void on_trap(int s) { sum += table[traps++ * 3](1); }
       ${F} void traps_itself(void) { __asm__ volatile("nop; int3"); }
       __asm__(".globl begins_with_int3\\n.type begins_with_int3,@function\\nbegins_with_int3: int3; ret");
       void begins_with_int3(void);
       int main() {
         struct sigaction action = { .sa_handler = on_trap }; sigaction(SIGTRAP, &action, 0);
         for (int i = 0; i < 4; i++) { traps_itself(); begins_with_int3(); raise(SIGTRAP); }
         if (fork() == 0) { traps_itself(); raise(SIGTRAP); _exit(traps); }
         int status; wait(&status);
         printf("%d %d %d", traps, sum, WEXITSTATUS(status)); fflush(stdout);
         struct sigaction now; sigaction(SIGTRAP, 0, &now);
         sigset_t blocked; sigprocmask(SIG_SETMASK, 0, &blocked);
         return (now.sa_handler == on_trap) + 2 * sigismember(&blocked, SIGTRAP); }`,
    );
    const run = sameRun([program]);
    expect(run.ended).toEqual({ kind: 'exited', code: 1 });
    expect(enteredNames(run, program, /^(traps_itself|on_trap|begins_with_int3)$/)).toEqual([
      'traps_itself',
      'on_trap',
    ]);
    expect(enteredNames(run, program, /^f[0-9]+$/)).toEqual(THIRDS.slice(0, 14));
  });

  it('a program that puts an int3 where one of ours was', () => {
    const program = scene.c(
      'patches',
      `${F} int patched(int x) { return x + 1; } ${F} int again(int x) { return x + 2; }
       static volatile int traps; static unsigned char byte;
       void on_trap(int s, siginfo_t *i, void *c) { traps++; *(unsigned char *)patched = byte; ((ucontext_t *)c)->uc_mcontext.gregs[REG_RIP]--; }
       int main() {
         struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO }; sigaction(SIGTRAP, &action, 0);
         int sum = patched(1);
         mprotect((void *)((long)patched & ~4095), 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
         byte = *(unsigned char *)patched;
         for (int i = 0; i < 2; i++) { *(unsigned char *)patched = 0xcc; sum += patched(1); }
         /* In a child it was met before, by its parent. */
         if (fork() == 0) { sum += again(1) + patched(1); *(unsigned char *)patched = 0xcc; sum += again(1); _exit(sum); }
         int status; wait(&status);
         printf("%d %d %d", sum, traps, WEXITSTATUS(status)); return 0; }`,
    );
    const run = sameRun([program]);
    expect(enteredNames(run, program, /^(patched|again|on_trap)$/)).toEqual(['patched', 'on_trap', 'again']);
  });

  it('SIGTRAP that somebody sends right behind the first instruction of a function', () => {
    const program = scene.c(
      'sent',
      `__asm__(".globl enters\\n.type enters,@function\\nenters: .cfi_startproc\\n nop\\n lea 1(%rdi), %eax\\n ret\\n.cfi_endproc");
       int enters(int);
       static volatile int got;
       void on_trap(int s, siginfo_t *i, void *c) { got += ((ucontext_t *)c)->uc_mcontext.gregs[REG_RIP] == (long)enters + 1; }
       /* As if the interrupted code had called it, past its first byte, with a SIGTRAP that waits. */
       void enter_behind(int s, siginfo_t *i, void *c) {
         greg_t *r = ((ucontext_t *)c)->uc_mcontext.gregs;
         r[REG_RSP] -= 8; *(long *)r[REG_RSP] = r[REG_RIP]; r[REG_RIP] = (long)enters + 1; raise(SIGTRAP); }
       int main() {
         struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO }; sigaction(SIGTRAP, &action, 0);
         action.sa_sigaction = enter_behind; sigaddset(&action.sa_mask, SIGTRAP); sigaction(SIGUSR1, &action, 0);
         enters(1);
         for (int i = 0; i < 3; i++) { long r = SYS_kill; __asm__ volatile("syscall" : "+a"(r) : "D"(getpid()), "S"(SIGUSR1) : "rcx", "r11", "memory"); }
         return got; }`,
      '-mno-red-zone',
    );
    expect(sameRun([program]).ended).toEqual({ kind: 'exited', code: 3 });
  });
});

describe('pages in a run with breakpoints', () => {
  const PAGES = 64;
  const source = `${Array.from({ length: PAGES }, (_, n) => `${F} __attribute__((aligned(4096))) int p${n}(int x) { return x + ${n}; }`).join('\n')}
    int main() { return p3(1) + p40(2); }`;

  it('are those of the functions that were entered', () => {
    const program = scene.c('paged', source);
    const [first = 0] = readElfPage(program, 'p0');
    const plain = pagesOf(scene.record([program]).run, program, 'mapped').map((page) => page - first);
    const run = sameRun([program]);
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
