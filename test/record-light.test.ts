/** Light recordings: what page tables say, without a tracer and with next to no cost. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import type { Run } from '../src/profile/model.ts';
import {
  AS_NOBODY,
  IS_ROOT,
  LIBRARY_PATHS,
  noteCodes,
  PLAIN_ENV,
  pagesOf,
  processesOf,
  Scene,
  until,
} from './record-scene.ts';

const scene = new Scene();
afterAll(() => scene.close());

/** A file of 400 pages, and C that touches some, far enough apart for fault-around. */
const DATA = scene.file('data', Buffer.alloc(400 * 4096, 1));
const TOUCH = `static volatile char *map; static volatile int sum;
static void open_map() { int fd = open("${DATA}", O_RDONLY); map = mmap(0, 400 * 4096, PROT_READ, MAP_PRIVATE, fd, 0); close(fd); }
static void touch(int page) { sum += map[page * 4096]; }
`;
const light = (command: readonly string[], how: Parameters<Scene['record']>[1] = {}) =>
  scene.record(command, { ...how, options: ['--quick', ...(how.options ?? [])] });
/** The windows of 32 pages in which something was touched. */
const windows = (run: Run): number[] => [
  ...new Set(pagesOf(run, DATA, 'mapped').map((page) => Math.floor(page / 32))),
];

describe('how it ended', () => {
  it.each([0, 1, 7, 126, 255])('exit code %i', (code) => {
    const done = light(['sh', '-c', `exit ${code}`]);
    expect(done.status).toBe(code);
    expect(done.run.ended).toEqual({ kind: 'exited', code });
    expect(done.run.processes.map(({ ended }) => ended)).toEqual([{ kind: 'exited', code }]);
    expect(noteCodes(done.run)).toEqual(['N_LIGHT']);
  });

  it.each<[NodeJS.Signals, number]>([
    ['SIGSEGV', 11],
    ['SIGKILL', 9],
    ['SIGTERM', 15],
  ])('death by %s: known, but not its pages', (name, signal) => {
    const done = light(['sh', '-c', `kill -${signal} $$`]);
    expect(done.signal).toBe(name);
    expect(done.run.ended).toEqual({ kind: 'killed', signal });
    expect(noteCodes(done.run)).toEqual(['N_LIGHT', 'N_UNSEEN_END']);
  });

  it('the plain exit of a last thread', () => {
    const program = scene.c('plain-exit', 'int main() { syscall(SYS_exit, 5); }');
    const done = light([program]);
    expect(done.status).toBe(5);
    expect(done.run.processes[0]).toMatchObject({ program, ended: { kind: 'exited', code: 5 } });
    expect(noteCodes(done.run)).toEqual(['N_LIGHT', 'N_UNSEEN_END']);
  });

  it('a program that cannot be executed', () => {
    const done = light([scene.file('orphan', '#!/none/sh\n', 0o755)]);
    expect([done.stderr.split(': ')[1], done.status]).toEqual(['E_PROGRAM_START', 126]);
  });
});

describe('the tree', () => {
  it('LD_LIBRARY_PATH of its processes', () => {
    const { run } = light(['sh', '-c', LIBRARY_PATHS], { env: PLAIN_ENV });
    expect(run.processes.flatMap(({ libraryPath }) => libraryPath ?? [])).toEqual(['/one:/ü', '', '/last']);
    expect(processesOf(run, /true$/).at(-1)).not.toHaveProperty('libraryPath');
  });

  it('gcc: the processes of a thorough recording, and every page it mapped', () => {
    const source = scene.file('hello.c', '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n');
    const command = ['gcc', source, '-o', scene.path('hello')];
    const thorough = scene.record(command).run;
    const { run, status } = light(command);
    expect(status).toBe(0);
    const shape = (of: Run) =>
      of.processes.map(({ program, parent, ended }) => [program, parent ?? -1, ended.kind]);
    expect(shape(run)).toEqual(shape(thorough));
    for (const { path } of run.files) {
      const seen = new Set(pagesOf(run, path, 'mapped'));
      expect(pagesOf(thorough, path, 'mapped').filter((page) => !seen.has(page))).toEqual([]);
    }
    expect(run.method).toMatchObject({ pages: 'fault-around', lookups: 'unseen' });
  });

  it('fork, vfork, posix_spawn, clone, and exec by a thread', () => {
    const program = scene.c(
      'births',
      `${TOUCH}
      int copy(void *x) { touch(200); return 0; }
      void *other(void *x) { touch(100); execl("/bin/echo", "echo", "from-thread", (char *)0); return 0; }
      int main() {
        open_map(); touch(1); int status;
        if (!fork()) { touch(300); _exit(3); }
        wait(&status);
        if (!vfork()) { execl("/none", "none", (char *)0); execl("/bin/true", "vforked", (char *)0); _exit(1); }
        wait(&status);
        pid_t pid; char *words[] = {"spawned", 0}; posix_spawn(&pid, "/bin/true", 0, 0, words, environ);
        waitpid(pid, &status, 0);
        static char stack[65536]; clone(copy, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
        wait(&status);
        pthread_t t; pthread_create(&t, 0, other, 0); for (;;) pause();
      }`,
      '-pthread',
    );
    const { run, stdout, status } = light([program]);
    expect([stdout, status]).toEqual(['from-thread\n', 0]);
    expect(windows(run)).toEqual(expect.arrayContaining([0, 3, 6, 9]));
    expect(processesOf(run, /(true|echo)$/).map(({ argvShape }) => argvShape[0])).toEqual([
      'vforked',
      'spawned',
      'echo',
    ]);
    const forked = run.processes[1];
    expect(forked).toMatchObject({ parent: 0, ended: { kind: 'exited', code: 3 } });
    expect(run.processes[0]?.ended).toEqual({ kind: 'execed' });
  });

  it('failing execs change nothing, and each program of a chain counts', () => {
    const env = { ...process.env, PATH: `/none:${scene.folder}:${process.env.PATH}` };
    const { run } = light(['env', 'A=1', 'nice', 'true'], { env });
    expect(run.processes.map(({ program, ended }) => [program.split('/').at(-1), ended.kind])).toEqual([
      ['env', 'execed'],
      ['nice', 'execed'],
      ['true', 'exited'],
    ]);
  });

  it('more than the pipe holds', () => {
    const { run, status } = light(['sh', '-c', 'for i in $(seq 400); do /bin/true; done']);
    expect(status).toBe(0);
    expect(processesOf(run, /true$/)).toHaveLength(400);
    expect(processesOf(run, /true$/).every(({ pages }) => pages.length > 1)).toBe(true);
  });

  it('children that are killed, daemons, and a leader that ends early', () => {
    const program = scene.c(
      'mixed',
      `${TOUCH}
      void *other(void *x) { usleep(100000); touch(390); exit(4); }
      int main() { open_map();
        for (int i = 0; i < 20; i++) { pid_t p = fork(); if (!p) for (;;) pause(); kill(p, SIGKILL); waitpid(p, 0, 0); }
        if (!fork()) { setsid(); if (fork()) _exit(0); usleep(300000); touch(100); exit(0); }
        pthread_t t; pthread_create(&t, 0, other, 0); pthread_exit(0); }`,
      '-pthread',
    );
    const { run, status } = light([program]);
    expect(status).toBe(4);
    expect(windows(run)).toEqual(expect.arrayContaining([3, 12]));
  });
});

describe('where less is allowed', () => {
  it.skipIf(!process.env.CI && !IS_ROOT)('an ordinary user (needs root to give rights up)', () => {
    const { run, stdout } = light(['sh', '-c', 'ls / | wc -l'], { through: AS_NOBODY });
    expect(Number(stdout)).toBeGreaterThan(3);
    expect(noteCodes(run)).toEqual(['N_LIGHT']);
    const libc = readFileSync('/proc/self/maps', 'utf8').match(/\S*libc\.so\.6/)?.[0] ?? '';
    expect(pagesOf(run, libc).length).toBeGreaterThan(20);
  });

  it('no filter: traced, as with --no-filter', () => {
    const deny = scene.c('deny', DENY);
    for (const call of ['seccomp', 'pidfd_getfd']) {
      const number = call === 'seccomp' ? 317 : 438;
      const { run, status } = light(['sh', '-c', 'exit 6'], { through: [deny, String(number)] });
      expect([call, status, noteCodes(run)]).toEqual([call, 6, ['N_NO_LOOKUPS']]);
    }
  });
});

describe('by itself', () => {
  const source = (pages: number) =>
    `${TOUCH} int main() { open_map(); for (int i = 0; i < ${pages}; i++) touch(i); return 0; }`;
  const how = (stderr: string): string => (stderr.includes(' lightly: ') ? 'light' : 'thorough');

  it('thorough while the command is learnt, then light; thorough again after something new', () => {
    const program = scene.c('learnt', source(400));
    const store = scene.newStore();
    const record = (...options: readonly string[]) => scene.record([program], { store, options });
    const first = Array.from({ length: 5 }, () => record());
    const kinds = first.map(({ stderr }) => how(stderr));
    expect(kinds.slice(0, 2)).toEqual(['thorough', 'thorough']);
    // The third one depends on whether the first two agree: where libraries lie can change a page or two.
    expect(kinds.slice(3)).toEqual(['light', 'light']);
    expect(first[4]?.run.method).toMatchObject({ lookups: 'unseen', pages: 'fault-around' });
    // A program of another content.
    scene.c('learnt', source(300));
    const news = record();
    expect(how(news.stderr)).toBe('light');
    expect(news.stderr).toMatch(/^winnow: 1 changed file\(s\).*: the next recording will be thorough$/m);
    expect([record(), record()].map(({ stderr }) => how(stderr))).toEqual(['thorough', 'light']);
    expect(record('--thorough').run.method).toMatchObject({ lookups: 'seen', pages: 'exact' });
  });

  it('--thorough and --quick contradict each other', () => {
    expect(light(['true'], { options: ['--thorough'] }).status).toBe(2);
  });
});

it('recorder killed: the first process ends, and others go on as if unrecorded', async () => {
  const out = scene.path('late');
  rmSync(out, { force: true });
  const started = scene.start(
    ['sh', '-c', `(sleep 1; /bin/true && echo fine >"${out}") & echo pid $$; exec sleep 30`],
    { options: ['--quick'] },
  );
  const id = Number(await started.saw(/pid (\d+)/));
  started.child.kill('SIGKILL');
  await started.ended;
  await until(
    () => !existsSync(`/proc/${id}`),
    () => 'the end of the first process',
  );
  await until(
    () => existsSync(out) && readFileSync(out, 'utf8') === 'fine\n',
    () => 'the work of the second',
  );
});

it('watcher killed: the program does not feel it, and a note says what was lost', async () => {
  const started = scene.start(['sh', '-c', 'echo ready; sleep 1; /bin/true; echo done; exit 5'], {
    options: ['--quick'],
  });
  await started.saw(/ready/);
  for (const id of watchersOf(started.child.pid ?? 0)) process.kill(id, 'SIGKILL');
  expect((await started.ended).code).toBe(5);
  expect(started.stdout).toContain('done');
  expect(noteCodes(started.run)).toEqual(['N_LIGHT', 'N_UNSEEN_END', 'N_LOST']);
});

/** Watchers of a recorder. */
const watchersOf = (recorder: number): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const status = readFileSync(`/proc/${name}/status`, 'utf8');
        return status.startsWith('Name:\twatcher\n') && status.includes(`\nPPid:\t${recorder}\n`);
      } catch {
        return false;
      }
    })
    .map(Number);

const DENY = `
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(int argc, char **argv) {
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argv[1]), 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) return 99;
  execvp(argv[2], argv + 2);
  return 98;
}`;
