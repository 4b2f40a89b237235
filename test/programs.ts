/**
 * Real programs of different kinds, each with the files it needs: `verify-programs.test.ts` records
 * each, builds its image and verifies that nothing differs.
 *
 * Over 300 lines: it is a table.
 */
export interface RealProgram {
  readonly name: string;
  /** What is special about it for a recorder or a launcher. */
  readonly kind: string;
  readonly argv: readonly string[];
  /** Executables that must be on PATH. */
  readonly needs: readonly string[];
  /** Files in its folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Shell commands that complete the folder. */
  readonly setup?: string;
  /** Name of a file of the folder that is its stdin. */
  readonly stdin?: string;
  /** How it must end; exit code 0 where nothing is said. */
  readonly ends?: { readonly code: number } | { readonly signal: number };
}

const REPOSITORY = `
git init -q . && git config user.email a@example.org && git config user.name A
for i in 1 2 3 4 5; do echo $i > file$i; mkdir -p d$i; echo $i > d$i/x; git add -A
GIT_AUTHOR_DATE="2024-01-0$i 12:00 +0000" GIT_COMMITTER_DATE="2024-01-0$i 12:00 +0000" git commit -qm "c$i"; done
echo changed > file3; echo new > untracked`;

const HELLO_C = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n';

const SELF_C = `#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("argv[%d]=%s\\n", i, argv[i]);
  for (char **e = environ; *e; e++) puts(*e);
  for (int r = 0; r < RLIM_NLIMITS; r++) {
    struct rlimit l; getrlimit(r, &l); printf("limit %d %lu %lu\\n", r, l.rlim_cur, l.rlim_max);
  }
  sigset_t mask; sigprocmask(SIG_SETMASK, 0, &mask);
  for (int s = 1; s < 65; s++) {
    struct sigaction a; sigset_t pending; sigpending(&pending);
    if (sigaction(s, 0, &a)) continue;
    printf("signal %d blocked %d pending %d ignored %d\\n", s, sigismember(&mask, s), sigismember(&pending, s), a.sa_handler == SIG_IGN);
  }
  char path[4096]; ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  printf("exe %.*s\\n", (int)n, path);
  printf("cwd %s\\n", getcwd(path, sizeof path));
  mode_t old = umask(0); printf("umask %o\\n", old);
  char name[16]; prctl(PR_GET_NAME, name); printf("name %s\\n", name);
  printf("dumpable %d no_new_privs %d\\n", prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  printf("subreaper child status %d\\n", waitpid(-1, 0, WNOHANG));
  printf("session leader %d group leader %d\\n", getsid(0) == getpid(), getpgrp() == getpid());
  printf("ids %d %d %d %d nice %d\\n", getuid(), geteuid(), getgid(), getegid(), getpriority(PRIO_PROCESS, 0));
  return 0;
}
`;

const FORKS_C = `#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
  int sum = 0;
  for (int i = 0; i < 8; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      if (i % 2) { char *a[] = {"sh", "-c", "exit 5", 0}; execv("/bin/sh", a); }
      pid_t v = vfork();
      if (v == 0) _exit(7);
      int s; waitpid(v, &s, 0);
      _exit(WEXITSTATUS(s) + i);
    }
    int status; waitpid(pid, &status, 0); sum += WEXITSTATUS(status);
  }
  if (waitpid(-1, 0, 0) != -1) puts("a child that I did not make");
  printf("%d\\n", sum);
  return 0;
}
`;

const THREADS_C = `#include <pthread.h>
#include <stdio.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; static long total;
static void *work(void *arg) {
  for (int i = 0; i < 10000; i++) { pthread_mutex_lock(&lock); total += (long)arg; pthread_mutex_unlock(&lock); }
  return 0;
}
int main(void) {
  pthread_t t[8];
  for (long i = 0; i < 8; i++) pthread_create(&t[i], 0, work, (void *)i);
  for (int i = 0; i < 8; i++) pthread_join(t[i], 0);
  printf("%ld\\n", total);
  return 0;
}
`;

const DLOPEN_C = `#include <dlfcn.h>
#include <stdio.h>
int main(void) {
  void *m = dlopen("libm.so.6", RTLD_LAZY);
  double (*f)(double) = m ? (double (*)(double))dlsym(m, "cbrt") : 0;
  printf("%.3f\\n", f ? f(27.0) : -1.0);
  dlclose(m);
  return dlopen("./no-such-library.so", RTLD_NOW) ? 1 : 0;
}
`;

const EXCEPTIONS_CC = `#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
struct Guard { std::string n; ~Guard() { std::cout << "unwound " << n << "\\n"; } };
int depth(int n) { Guard g{std::to_string(n)}; if (n == 0) throw std::runtime_error("bottom"); return depth(n - 1) + 1; }
int main() {
  try { depth(4); } catch (const std::exception &e) { std::cout << e.what() << "\\n"; }
  std::map<std::string, int> m{{"a", 1}};
  try { m.at("b"); } catch (const std::out_of_range &) { std::cout << "out of range\\n"; }
}
`;

const NUMBERS = Array.from({ length: 2000 }, (_, i) => `${(i * 7919) % 2003} line ${i}`).join('\n');

export const PROGRAMS: readonly RealProgram[] = [
  {
    name: 'git status',
    kind: 'walks a folder and rewrites its index',
    argv: ['git', 'status', '--porcelain'],
    needs: ['git'],
    setup: REPOSITORY,
  },
  {
    name: 'git log',
    kind: 'reads packed objects',
    argv: ['git', 'log', '--stat'],
    needs: ['git'],
    setup: `${REPOSITORY}\ngit gc -q`,
  },
  {
    name: 'git diff',
    kind: 'may start a pager',
    argv: ['git', 'diff', 'HEAD~2'],
    needs: ['git'],
    setup: REPOSITORY,
  },
  {
    name: 'gcc',
    kind: 'starts cc1, as, collect2 and ld',
    argv: ['gcc', '-O1', '-o', 'hello', 'hello.c'],
    needs: ['gcc'],
    files: { 'hello.c': HELLO_C },
  },
  {
    name: 'gcc and run',
    kind: 'runs what it has just written',
    argv: ['sh', '-c', 'gcc -o hello hello.c && ./hello'],
    needs: ['gcc'],
    files: { 'hello.c': HELLO_C },
  },
  {
    name: 'gcc error',
    kind: 'fails with messages on stderr',
    argv: ['gcc', 'broken.c'],
    needs: ['gcc'],
    files: { 'broken.c': 'int main(void) { return x; }\n' },
    ends: { code: 1 },
  },
  {
    name: 'C++ exceptions',
    kind: 'unwinds',
    argv: ['./exceptions'],
    needs: ['g++'],
    files: { 'e.cc': EXCEPTIONS_CC },
    setup: 'g++ -o exceptions e.cc',
  },
  {
    name: 'python3 subprocess',
    kind: 'starts processes by vfork',
    argv: ['/usr/bin/python3', 'run.py'],
    needs: ['/usr/bin/python3'],
    files: {
      'run.py':
        'import subprocess, json\nfor c in (["echo", "a"], ["sh", "-c", "echo b >&2; exit 4"]):\n    r = subprocess.run(c, capture_output=True, text=True)\n    print(json.dumps([r.returncode, r.stdout, r.stderr]))\n',
    },
  },
  {
    name: 'python3 threads',
    kind: 'an interpreter with threads',
    argv: [
      '/usr/bin/python3',
      '-c',
      'from concurrent.futures import ThreadPoolExecutor as T\nprint(sum(T(4).map(lambda n: n * n, range(100))))',
    ],
    needs: ['/usr/bin/python3'],
  },
  {
    name: 'python3 numpy',
    kind: 'loads extension modules by dlopen',
    argv: ['/usr/bin/python3', '-c', 'import numpy; print(numpy.arange(6).reshape(2, 3) @ numpy.ones(3))'],
    needs: ['/usr/bin/python3', '/usr/lib/python3/dist-packages/numpy/__init__.py'],
  },
  {
    name: 'perl',
    kind: 'an interpreter with modules',
    argv: [
      'perl',
      '-MData::Dumper',
      '-MPOSIX',
      '-e',
      '$Data::Dumper::Sortkeys = 1; print Dumper({ a => floor(2.7), b => [1, 2] })',
    ],
    needs: ['perl'],
  },
  {
    name: 'bash pipelines',
    kind: 'a tree of short processes',
    argv: [
      'bash',
      '-c',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
      'set -o pipefail; for i in 1 2 3; do seq 100 | grep $i | sort -r | head -n 3; done; cat <(echo substituted); false | true; echo ${PIPESTATUS[@]}',
    ],
    needs: ['bash'],
  },
  {
    name: 'a script with #!',
    kind: 'the kernel starts its interpreter',
    argv: ['./script', 'a b'],
    needs: [],
    files: { script: '#!/bin/sh -e\necho "$0" "$#" "$1"\nls\necho done > written\n' },
    setup: 'chmod +x script',
  },
  {
    name: 'sh -c',
    kind: 'execs its last command',
    argv: ['sh', '-c', 'cd /; exec ls -d usr etc'],
    needs: [],
  },
  {
    name: 'awk',
    kind: 'reads a file',
    argv: ['awk', '{ sum[$1 % 7] += $3 } END { for (i = 0; i < 7; i++) print i, sum[i] }', 'numbers'],
    needs: ['awk'],
    files: { numbers: NUMBERS },
  },
  {
    name: 'sed in place',
    kind: 'replaces a file by rename',
    argv: ['sed', '-i', 's/line \\([0-9]*\\)/\\1 row/', 'numbers'],
    needs: ['sed'],
    files: { numbers: NUMBERS },
  },
  {
    name: 'find',
    kind: 'walks folders and starts processes',
    argv: ['find', '.', '-type', 'f', '-exec', 'wc', '-c', '{}', '+'],
    needs: ['find'],
    files: { a: '1', b: '22' },
  },
  {
    name: 'tar',
    kind: 'writes many files with modes and links',
    argv: ['tar', '-xpf', 'a.tar'],
    needs: ['tar'],
    setup:
      'mkdir t; for i in 1 2 3; do echo $i > t/$i; chmod 6"$i"0 t/$i; done; ln -s 1 t/l; ln t/1 t/hard; tar -cf a.tar t; rm -r t',
  },
  {
    name: 'tar and gzip',
    kind: 'a program that starts its compressor',
    argv: ['tar', '--sort=name', '--mtime=@0', '-czf', 'a.tgz', 'numbers'],
    needs: ['tar', 'gzip'],
    files: { numbers: NUMBERS },
  },
  {
    name: 'xz',
    kind: 'replaces its input',
    argv: ['xz', '-9', 'numbers'],
    needs: ['xz'],
    files: { numbers: NUMBERS },
  },
  {
    name: 'sort',
    kind: 'threads and temporary files',
    argv: ['sort', '-n', '--parallel=2', '-S', '32K', '-o', 'sorted', 'numbers'],
    needs: ['sort'],
    files: { numbers: NUMBERS },
  },
  {
    name: 'sqlite3',
    kind: 'locks and journals a file',
    argv: [
      'sqlite3',
      'a.db',
      'create table t(a, b); insert into t values (1, "x"), (2, "y"); select sum(a), max(b) from t;',
    ],
    needs: ['sqlite3'],
  },
  {
    name: 'openssl',
    kind: 'reads its configuration',
    argv: ['openssl', 'dgst', '-sha256', 'numbers'],
    needs: ['openssl'],
    files: { numbers: NUMBERS },
  },
  {
    name: 'node',
    kind: 'a big executable with threads',
    argv: ['node', '-e', 'console.log([3, 1, 2].sort().join())'],
    needs: ['node'],
  },
  {
    name: 'node worker threads',
    kind: 'threads that come and go',
    argv: [
      'node',
      '-e',
      'const { Worker } = require("worker_threads"); for (let i = 0; i < 3; i++) new Worker("require(\\"worker_threads\\").parentPort.postMessage(6 * 7)", { eval: true }).on("message", (m) => console.log(m));',
    ],
    needs: ['node'],
  },
  {
    name: 'make',
    kind: 'rules, files and shells',
    argv: ['make', '-s'],
    needs: ['make'],
    files: { Makefile: 'all: b c\nb: a\n\tcp a b\nc: b\n\ttr a-z A-Z < b > c\n', a: 'text\n' },
  },
  {
    name: 'as and ld',
    kind: 'writes an executable',
    argv: ['sh', '-c', 'as -o a.o a.s && ld -o a a.o && ./a'],
    needs: ['as', 'ld'],
    files: { 'a.s': '.globl _start\n_start: mov $60, %eax\nmov $9, %edi\nsyscall\n' },
    ends: { code: 9 },
  },
  { name: 'readelf', kind: 'reads a big file', argv: ['readelf', '-hlW', '/bin/ls'], needs: ['readelf'] },
  {
    name: 'bc',
    kind: 'reads stdin',
    argv: ['bc', '-l'],
    needs: ['bc'],
    files: { in: 'scale=30\n4*a(1)\n2^200\n' },
    stdin: 'in',
  },
  {
    name: 'tclsh',
    kind: 'an interpreter that reads stdin',
    argv: ['tclsh'],
    needs: ['tclsh'],
    files: { in: 'puts [expr {6 * 7}]\nputs [lsort {c a b}]\n' },
    stdin: 'in',
  },
  {
    name: 'Rscript',
    kind: 'starts R through a shell script',
    argv: ['Rscript', '-e', 'cat(summary(c(1, 2, 10)), "\\n")'],
    needs: ['Rscript'],
  },
  {
    name: 'a static program',
    kind: 'no dynamic loader',
    argv: ['./static', 'x'],
    needs: ['gcc'],
    files: { 'self.c': HELLO_C },
    setup: 'gcc -static -o static self.c',
  },
  {
    name: 'a program that prints what it was given',
    kind: 'argv, environment, limits, signals, ids',
    argv: ['./self', 'a b', '', 'é'],
    needs: ['gcc'],
    files: { 'self.c': SELF_C },
    setup: 'gcc -o self self.c',
  },
  {
    name: '/proc/self/fd',
    kind: 'sees inherited descriptors',
    argv: ['ls', '-l', '--time-style=+', '/proc/self/fd/'],
    needs: [],
  },
  {
    name: 'forks',
    kind: 'fork, vfork, exec, and children it did not make',
    argv: ['./forks'],
    needs: ['gcc'],
    files: { 'forks.c': FORKS_C },
    setup: 'gcc -o forks forks.c',
  },
  {
    name: 'threads',
    kind: 'POSIX threads',
    argv: ['./threads'],
    needs: ['gcc'],
    files: { 'threads.c': THREADS_C },
    setup: 'gcc -pthread -o threads threads.c',
  },
  {
    name: 'dlopen',
    kind: 'loads and unloads a library, fails to load another',
    argv: ['./dl'],
    needs: ['gcc'],
    files: { 'dl.c': DLOPEN_C },
    setup: 'gcc -o dl dl.c -ldl',
  },
  {
    name: 'killed by a signal',
    kind: 'ends by SIGSEGV',
    argv: ['sh', '-c', 'ulimit -c 0; echo before; kill -SEGV $$'],
    needs: [],
    ends: { signal: 11 },
  },
  {
    name: 'killed by SIGKILL',
    kind: 'ends without a chance to tell',
    argv: ['sh', '-c', 'kill -KILL $$'],
    needs: [],
    ends: { signal: 9 },
  },
  { name: 'exit code 3', kind: 'fails quietly', argv: ['sh', '-c', 'exit 3'], needs: [], ends: { code: 3 } },
  {
    name: 'traps',
    kind: 'handles its own signals',
    argv: [
      'bash',
      '-c',
      "trap 'echo got USR1' USR1; trap 'echo bye' EXIT; kill -USR1 $$; (sleep 0.05; kill -USR1 $$) & wait; wait",
    ],
    needs: ['bash'],
  },
  {
    name: 'cat',
    kind: 'copies stdin',
    argv: ['cat'],
    needs: [],
    files: { numbers: NUMBERS },
    stdin: 'numbers',
  },
  {
    name: 'ls of a missing file',
    kind: 'a failing look-up',
    argv: ['ls', 'no-such-file'],
    needs: [],
    ends: { code: 2 },
  },
];
