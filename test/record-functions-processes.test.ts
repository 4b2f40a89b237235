/** `winnow record --functions` on trees of processes, threads, and programs with signals of their own. */
import { afterAll, describe, expect, it } from 'vitest';
import { enteredNames, F, FunctionsScene } from './functions-scene.ts';

const scene = new FunctionsScene();
afterAll(() => scene.close());

/** Every third of 300 functions `f0` to `f299` that add their number. */
const MANY = `${Array.from({ length: 300 }, (_, n) => `${F} int f${n}(int x) { return x + ${n}; }`).join('\n')}
int (*table[300])(int) = { ${Array.from({ length: 300 }, (_, n) => `f${n}`).join(', ')} };`;
const THIRDS = Array.from({ length: 100 }, (_, n) => `f${n * 3}`);

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
    const run = scene.sameRun([program]);
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
    const run = scene.sameRun([program]);
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
    expect(enteredNames(scene.sameRun([program]), program, /^f[0-9]+$/)).toEqual(THIRDS);
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
    const run = scene.sameRun([program]);
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
    expect(enteredNames(scene.sameRun([program]), program, /^f[0-9]+$/).sort()).toEqual([...THIRDS].sort());
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
    const run = scene.sameRun([program]);
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
    const run = scene.sameRun([program]);
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
    const run = scene.sameRun([program]);
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
    expect(scene.sameRun([program]).ended).toEqual({ kind: 'exited', code: 3 });
  });
});
