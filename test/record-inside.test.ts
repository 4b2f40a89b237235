/** Recordings from inside the program: what is the tracer's no longer, what is left to it, and that nobody notices. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, utimesSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { nextIsTraced } from '../src/profile/learn.ts';
import type { Run } from '../src/profile/model.ts';
import { openStore } from '../src/profile/store.ts';
import { AS_NOBODY, IS_ROOT, noteCodes, pagesOf, processesOf, Scene, WINNOW } from './record-scene.ts';

const scene = new Scene();
afterAll(() => scene.close());

const DATA = scene.file('data', Buffer.alloc(300 * 4096, 1));
const lookups = (run: Run): string[] => run.lookups.map(({ path }) => path).sort();
/** Shell: says what the folder of the recording is called, which others' recordings have beside it. */
const SESSION = 'grep -m 1 -ao "winnow-inside-[A-Za-z0-9]*" /proc/self/maps';
const isThere = (name: string): boolean => existsSync(`/dev/shm/${name}`);

describe('the same as the tracer', () => {
  it.each<[string, readonly string[]]>([
    [
      'a pipeline',
      ['sh', '-c', 'cat /etc/services | sort | tail -n 1; cd /etc && ls ld.so.conf.d/../passwd'],
    ],
    ['an interpreter', ['perl', '-MPOSIX', '-e', 'print strftime("%Y", gmtime(0)), "\n"']],
    [
      'folders by duplicates of their descriptors',
      ['find', '/usr/share/perl5', '/etc/ld.so.conf.d', '-name', '*.conf'],
    ],
    ['a compiler', ['gcc', '-E', '-x', 'c', '/dev/null', '-include', 'stdio.h', '-o', '/dev/null']],
  ])('%s', (_name, command) => {
    const [inside, other] = [scene.record(command), scene.record(command, { options: ['--traced'] })];
    expect(inside.stdout).toBe(other.stdout);
    expect(noteCodes(inside.run)).toEqual([]);
    expect(inside.run.method).toMatchObject({ pages: 'exact', lookups: 'seen' });
    expect(lookups(inside.run)).toEqual(lookups(other.run));
    expect(inside.run.processes.map(({ program, ended }) => [program, ended.kind]).sort()).toEqual(
      other.run.processes.map(({ program, ended }) => [program, ended.kind]).sort(),
    );
    const used = (run: Run): string[] => run.files.map(({ path }) => path).sort();
    expect(used(inside.run)).toEqual(used(other.run));
    for (const path of used(inside.run)) {
      // What the loader used before it took us in is seen with its neighbours.
      if (/ld-linux/.test(path)) continue;
      const [ours, theirs] = [pagesOf(inside.run, path), pagesOf(other.run, path)];
      const common = ours.filter((page) => theirs.includes(page)).length;
      expect(Math.max(ours.length, theirs.length) - common, path).toBeLessThanOrEqual(16);
    }
  });
});

describe('nobody notices', () => {
  it('neither descriptors nor variables, in parent and child', () => {
    const program = scene.c(
      'looker',
      `int main(int c, char **v) { for (char **e = environ; *e; e++) if (!strncmp(*e, "LD_AUDIT", 8)) return 9;
      DIR *d = opendir("/proc/self/fd"); int n = 0; while (readdir(d)) n++; closedir(d); printf("%d %s\\n", n, getenv("X")); fflush(stdout);
      if (c > 1) return 0; pid_t p = fork(); if (!p) { d = opendir("/proc/self/fd"); n = 0; while (readdir(d)) n++; printf("%d\\n", n); fflush(stdout); execl(v[0], v[0], "again", (char *)0); }
      int s; waitpid(p, &s, 0); return WEXITSTATUS(s); }`,
    );
    const plain = spawnSync(program, { encoding: 'utf8', env: { X: 'y' } });
    const { stdout, status, run } = scene.record([program], { env: { ...process.env, X: 'y' } });
    expect([stdout, status]).toEqual([plain.stdout, 0]);
    expect(noteCodes(run)).toEqual([]);
  });

  it('system calls behave: errors, bad addresses, syscall(), cancellation, vfork, clone', () => {
    const program = scene.c('calls', CALLS, '-pthread');
    const plain = spawnSync(program, { encoding: 'utf8', cwd: scene.folder });
    const { stdout, status } = scene.record([program]);
    expect(plain.stdout.split('\n').length).toBeGreaterThan(12);
    expect([stdout, status]).toEqual([plain.stdout, plain.status]);
  });

  it('a program with a filter of its own that kills', () => {
    const program = scene.c('strict', STRICT);
    expect(spawnSync(program).status).toBe(7);
    const { stdout, status, run } = scene.record([program]);
    expect([stdout, status]).toEqual(['strict\n', 7]);
    expect(pagesOf(run, program).length).toBeGreaterThan(0);
  });

  it('leaves nothing behind', () => {
    const { stdout } = scene.record(['sh', '-c', `${SESSION}; kill -9 $$`]);
    expect(stdout).toMatch(/^winnow-inside-\w+\n$/);
    expect(isThere(stdout.trim())).toBe(false);
  });

  it('what a killed recorder left goes with the next recording; what another one holds stays', async () => {
    const [held, killed] = [SESSION, SESSION].map((line) => scene.start(['sh', '-c', `${line}; sleep 60`]));
    if (held === undefined || killed === undefined) throw new Error('nothing was started');
    const [holding, left] = [
      await held.saw(/(winnow-inside-\w+)\n/),
      await killed.saw(/(winnow-inside-\w+)\n/),
    ];
    killed.child.kill('SIGKILL');
    await killed.ended;
    // Young ones are left alone.
    const old = new Date(Date.now() - 600_000);
    for (const name of [holding, left]) utimesSync(`/dev/shm/${name}`, old, old);
    scene.record(['true']);
    expect([isThere(holding), isThere(left)]).toEqual([true, false]);
    held.child.kill('SIGINT');
    await held.ended;
    expect(isThere(holding)).toBe(false);
  });

  it('threads that unmap files at the same time', () => {
    const program = scene.c(
      'unmappers',
      `static void *work(void *p) { int fd = open("${DATA}", O_RDONLY); long at = (long)p; volatile char sum = 0;
      for (int i = 0; i < 30; i++) { volatile char *m = mmap(0, 300 * 4096, PROT_READ, MAP_PRIVATE, fd, 0); sum += m[at * 4096]; munmap((void *)m, 300 * 4096); } return 0; }
      int main() { pthread_t t[8]; for (long i = 0; i < 8; i++) pthread_create(&t[i], 0, work, (void *)(i * 30)); for (int i = 0; i < 8; i++) pthread_join(t[i], 0); return 0; }`,
      '-pthread',
    );
    const { run, status } = scene.record([program]);
    expect(status).toBe(0);
    expect(pagesOf(run, DATA, 'mapped')).toEqual([0, 30, 60, 90, 120, 150, 180, 210]);
  });

  it('a log of many chunks', () => {
    const program = scene.c(
      'many',
      `int main() { char p[64]; struct stat s; for (int i = 0; i < 20000; i++) { sprintf(p, "/none/%d", i); stat(p, &s); } return 0; }`,
    );
    const { run } = scene.record([program]);
    expect(run.lookups.filter(({ path }) => path.startsWith('/none/'))).toHaveLength(20_000);
    expect(noteCodes(run)).toEqual([]);
  });
});

it('a log that is full: the program goes on, and a note', () => {
  const program = scene.c(
    'much',
    `int main() { static char p[4000]; struct stat s; memset(p, 'x', 3999); for (int i = 0; i < 75000; i++) stat(p, &s); puts("done"); return 3; }`,
  );
  const { run, stdout, status } = scene.record([program]);
  expect([stdout, status]).toEqual(['done\n', 3]);
  expect(noteCodes(run)).toEqual(['N_PARTLY_INSIDE']);
  expect(run.notes[0]?.text).toMatch(/entries of the log found no room/);
});

describe('what is seen', () => {
  it('libraries that are opened and closed again', () => {
    const library = scene.path('lib.so');
    scene.c(
      'lib.so',
      `const char big[200 * 4096] = {1}; int get(int i) { return big[i * 4096]; }`,
      '-shared',
      '-fPIC',
    );
    const program = scene.c(
      'closer',
      `int main() { void *l = dlopen("${library}", RTLD_NOW); int (*get)(int) = dlsym(l, "get"); int sum = get(150); dlclose(l); return sum; }`,
    );
    const { run } = scene.record([program]);
    const pages = pagesOf(run, library, 'mapped');
    expect(pages.some((page) => page >= 150)).toBe(true);
    expect(pages.length).toBeLessThan(40);
  });

  it('a forked child by itself', () => {
    const program = scene.c(
      'forker',
      `static volatile int sum; int main() { int fd = open("${DATA}", O_RDONLY); volatile char *m = mmap(0, 300 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
      sum = m[10 * 4096]; pid_t p = fork(); if (!p) { sum = m[200 * 4096]; _exit(3); } waitpid(p, 0, 0); return 0; }`,
    );
    const { run } = scene.record([program]);
    expect(pagesOf(run, DATA, 'mapped')).toEqual([10, 200]);
    expect(processesOf(run, /forker/)).toHaveLength(2);
  });

  it('a program that has outlived hundreds of children, exactly', () => {
    const program = scene.c(
      'parent',
      `static volatile int sum; int main() { int fd = open("${DATA}", O_RDONLY); volatile char *m = mmap(0, 300 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
      for (int i = 0; i < 450; i++) { pid_t p = fork(); if (!p) _exit(0); waitpid(p, 0, 0); } sum = m[200 * 4096]; return 0; }`,
    );
    const { run } = scene.record([program]);
    expect(pagesOf(run, DATA, 'mapped')).toEqual([200]);
    expect(noteCodes(run)).toEqual([]);
  });

  it('more processes at a time than can be kept: a note', () => {
    const program = scene.c(
      'many-at-a-time',
      `int main() { int go[2]; pipe(go); for (int i = 0; i < 410; i++) if (!fork()) { char b; close(go[1]); read(go[0], &b, 1); _exit(0); }
      usleep(300000); close(go[1]); while (wait(0) > 0); return 0; }`,
    );
    const { run, status } = scene.record([program]);
    expect(status).toBe(0);
    expect(noteCodes(run)).toEqual(['N_PARTLY_INSIDE']);
    expect(run.notes[0]?.text).toContain(program);
  });

  it('a child that was killed before anybody looked at it: a note', () => {
    const program = scene.c(
      'killer',
      `int main() { int up[2]; pipe(up); pid_t p = fork(); if (!p) { write(up[1], "u", 1); for (;;) pause(); } char b; read(up[0], &b, 1); kill(p, SIGKILL); waitpid(p, 0, 0); return 0; }`,
    );
    const { run } = scene.record([program]);
    expect(noteCodes(run)).toEqual(['N_PARTLY_INSIDE']);
    expect(run.notes[0]?.text).toContain('1 process(es) ended by a signal');
  });

  it('a child by clone without libc, which executes another program: its pages, and a note', () => {
    const program = scene.c(
      'cloner',
      `static volatile int sum; int main() { int fd = open("${DATA}", O_RDONLY); volatile char *m = mmap(0, 300 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
      pid_t p = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); if (!p) { sum = m[200 * 4096]; execl("/bin/true", "true", (char *)0); } waitpid(p, 0, 0); return 0; }`,
    );
    const { run } = scene.record([program]);
    expect(pagesOf(run, DATA, 'mapped')).toContain(200);
    expect(noteCodes(run)).toEqual(['N_PARTLY_INSIDE']);
  });

  it('standard input that is a file', () => {
    const line = `"${WINNOW}" record -q --name it --store "${scene.path('stdin-store')}" -- head -c 100000 < "${DATA}"`;
    execFileSync('sh', ['-c', line], { cwd: scene.folder, stdio: ['ignore', 'ignore', 'inherit'] });
    const run = openStore({ store: scene.path('stdin-store') }).read('it').runs[0];
    if (run === undefined) throw new Error('nothing was recorded');
    expect(pagesOf(run, DATA, 'read').length).toBeGreaterThanOrEqual(25);
    expect(pagesOf(run, DATA, 'read').length).toBeLessThan(60);
  });
});

describe('what is left to the tracer', () => {
  const still = scene.c('still', 'int main() { return 0; }', '-static');

  it('children that are static: a note, and the next recording', () => {
    const store = scene.newStore();
    const command = ['sh', '-c', `"${still}"; true`];
    const { run } = scene.record(command, { store });
    expect(noteCodes(run)).toEqual(['N_PARTLY_INSIDE']);
    expect(run.notes[0]?.text).toContain(still);
    expect(run.method).toMatchObject({ pages: 'fault-around', lookups: 'unseen' });
    const profile = openStore({ store }).read('it');
    expect(nextIsTraced(profile, run.command)).toBe(true);
    const next = scene.record(command, { store }).run;
    expect(noteCodes(next)).toEqual([]);
    expect(next.method).toMatchObject({ pages: 'exact', lookups: 'seen' });
  });

  it('programs under another audit object', () => {
    const audit = scene.path('audit.so');
    scene.c('audit.so', 'unsigned la_version(unsigned v) { return v; }', '-shared', '-fPIC');
    const { run, status } = scene.record(['true'], { env: { ...process.env, LD_AUDIT: audit } });
    expect(status).toBe(0);
    expect(noteCodes(run)).toEqual([]);
    expect(run.method).toMatchObject({ pages: 'exact', lookups: 'seen' });
  });
});

describe('refused', () => {
  const deny = scene.c('deny', DENY());
  const without = (call: number, errno: number) => ({ through: [deny, String(call), String(errno)] });
  const program = scene.c('ran', 'int main() { puts("ran"); return 5; }');

  it('ptrace: it is seen all the same', () => {
    const { run, status, stdout } = scene.record([program], without(101, 1));
    expect([status, stdout]).toEqual([5, 'ran\n']);
    expect(noteCodes(run)).toEqual([]);
  });

  it('ptrace, where the tracer would do it better: from inside once more', () => {
    const store = scene.newStore();
    const command = ['sh', '-c', `"${program}"; kill -9 $$`];
    for (let run = 0; run < 2; run++) {
      const done = scene.record(command, { store, ...without(101, 1) });
      expect([done.signal, done.stdout]).toEqual(['SIGKILL', 'ran\n']);
      expect(noteCodes(done.run)).toEqual(['N_PARTLY_INSIDE']);
    }
  });

  it('seccomp: recorded without the filter, by the tracer', () => {
    const { run, status, stdout } = scene.record([program], without(317, 1));
    expect([status, stdout]).toEqual([5, 'ran\n']);
    expect(noteCodes(run)).toEqual(['N_NO_LOOKUPS']);
  });

  it.each([1, 38])('userfaultfd (errno %i): a note', (errno) => {
    const { run, status, stdout } = scene.record([program], without(323, errno));
    expect([status, stdout]).toEqual([5, 'ran\n']);
    expect(noteCodes(run)).toEqual(['N_PARTLY_INSIDE']);
    expect(run.lookups.length).toBeGreaterThan(2);
  });

  it.skipIf(!process.env.CI && !IS_ROOT)('nothing to an ordinary user (needs root to give rights up)', () => {
    const { run, stdout } = scene.record(['sh', '-c', 'ls / | wc -l; true'], { through: AS_NOBODY });
    expect(Number(stdout)).toBeGreaterThan(3);
    expect(run.method).toMatchObject({ pages: 'exact', lookups: 'seen' });
    expect(noteCodes(run)).toEqual([]);
  });
});

it('shows in the maps what it maps, and nothing else', () => {
  const { stdout } = scene.record(['cat', '/proc/self/maps']);
  const ours = stdout.split('\n').filter((line) => /inside\.so|winnow-inside/.test(line));
  expect(ours.length).toBeGreaterThan(0);
  expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('winnow-inside');
});

const CALLS = `
static void show(const char *what, long result) { printf("%s %ld %d\\n", what, result < 0 ? -1 : result > 2 ? 3 : result, result < 0 ? errno : 0); fflush(stdout); }
static void *reader(void *p) { char b; int *pipe_ = p; pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, 0); read(pipe_[0], &b, 1); return 0; }
static char stack[65536] __attribute__((aligned(16)));
static int cloned(void *p) { return 42; }
int main() {
  struct stat s; char b[8];
  show("open missing", open("/none", O_RDONLY)); show("open null", open((char *)0, O_RDONLY)); show("open bad", open((char *)1, O_RDONLY));
  show("stat bad", stat((char *)16, &s)); show("access", access("/etc/passwd", R_OK)); show("empty", open("", O_RDONLY));
  int fd = open("/etc/passwd", O_RDONLY); show("fd", fd); show("read", read(fd, b, 2)); show("seek", lseek(fd, 1, SEEK_SET)); show("badfd", read(200, b, 1));
  show("syscall openat", syscall(SYS_openat, -100, "/etc/passwd", O_RDONLY)); show("syscall fails", syscall(SYS_openat, -100, "/none", O_RDONLY));
  show("syscall unknown", syscall(1000)); show("syscall getppid", syscall(SYS_getppid) > 0); show("syscall six", syscall(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0) > 0);
  show("execv fails", execl("/none/x", "x", (char *)0)); show("exec null", execve((char *)0, 0, 0));
  int p[2]; pipe(p); pthread_t t; pthread_create(&t, 0, reader, p); usleep(20000); pthread_cancel(t); void *r; pthread_join(t, &r); show("cancelled", r == PTHREAD_CANCELED);
  int st; pid_t c = vfork(); if (!c) { open("/none", O_RDONLY); _exit(5); } waitpid(c, &st, 0); show("vfork", WEXITSTATUS(st) == 5);
  c = clone(cloned, stack + sizeof stack, CLONE_VM | SIGCHLD, 0); waitpid(c, &st, 0); show("clone", WEXITSTATUS(st) == 42);
  c = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); if (!c) { open("/none", O_RDONLY); _exit(6); } waitpid(c, &st, 0); show("syscall clone", WEXITSTATUS(st) == 6);
  c = fork(); if (!c) exit(7); waitpid(c, &st, 0); show("fork", WEXITSTATUS(st) == 7);
  void *m = mmap(0, 200000, PROT_READ, MAP_PRIVATE, fd, 0); show("mmap", m != MAP_FAILED); show("munmap", munmap(m, 200000)); show("munmap bad", munmap((void *)1, 1));
  FILE *f = popen("echo child", "r"); char line[16] = ""; fgets(line, 16, f); pclose(f); printf("%s", line);
  return 11;
}`;

/** Only what it needs from then on; anything else is its death. */
const STRICT = `
#include <linux/filter.h>
#include <linux/seccomp.h>
#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
int main() {
  struct sock_filter code[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), ALLOW(SYS_write), ALLOW(SYS_exit_group), ALLOW(SYS_newfstatat), ALLOW(SYS_brk), ALLOW(SYS_openat), ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_getrandom),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS) };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  int fd = open("${DATA}", O_RDONLY);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 99;
  void *m = mmap(0, 300 * 4096, PROT_READ, MAP_PRIVATE, fd, 0); munmap(m, 300 * 4096); open("/none", O_RDONLY);
  puts("strict"); return 7;
}`;

function DENY(): string {
  return `
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(int argc, char **argv) {
  struct sock_filter code[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argv[1]), 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(argv[2])), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
  struct sock_fprog program = {4, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) return 99;
  execvp(argv[3], argv + 3); return 98;
}`;
}
