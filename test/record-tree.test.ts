/** The whole tree of processes is recorded, however its members are made and end. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import {
  AS_NOBODY,
  IS_ROOT,
  LIBRARY_PATHS,
  noteCodes,
  PLAIN_ENV,
  pagesOf,
  processesOf,
  Scene,
  WAYS,
} from './record-scene.ts';

describe.each(WAYS)('$way', ({ way, options }) => {
  const scene = new Scene(...options);
  afterAll(() => scene.close());

  /** A file of 40 pages, and C that touches some of them: `touch(3)`. */
  const DATA = scene.file('data', Buffer.alloc(40 * 4096, 1));
  const TOUCH = `static volatile char *map; static volatile int sum;
static void open_map() { int fd = open("${DATA}", O_RDONLY); map = mmap(0, 40 * 4096, PROT_READ, MAP_PRIVATE, fd, 0); close(fd); }
static void touch(int page) { sum += map[page * 4096]; }
`;
  const mapped = (run: Parameters<typeof pagesOf>[0]) => pagesOf(run, DATA, 'mapped');

  describe('births', () => {
    it('fork, vfork, posix_spawn and clone', () => {
      const program = scene.c(
        'births',
        `${TOUCH}
      int thread(void *x) { touch(7); return 0; }
      int main(int argc, char **argv) {
        open_map(); touch(1); int status;
        if (!fork()) { touch(3); _exit(0); }
        wait(&status);
        if (!vfork()) { execl("/bin/true", "vforked", (char *)0); _exit(1); }
        wait(&status);
        pid_t pid; char *words[] = {"spawned", 0};
        posix_spawn(&pid, "/bin/true", 0, 0, words, environ);
        waitpid(pid, &status, 0);
        static char stack[65536];
        clone(thread, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
        wait(&status);
        return 0;
      }`,
      );
      const { run, status } = scene.record([program]);
      expect(status).toBe(0);
      expect(mapped(run)).toEqual([1, 3, 7]);
      expect(processesOf(run, /true$/).map(({ argvShape }) => argvShape[0])).toEqual(['vforked', 'spawned']);
      const child = run.processes[1];
      expect(child?.parent).toBe(0);
      expect(pagesOf(run, DATA, 'mapped', child)).toContain(3);
    });

    it('pipelines of a shell', () => {
      const { run, stdout } = scene.record(['sh', '-c', 'printf "b\\na\\n" | sort | head -n 1']);
      expect(stdout).toBe('a\n');
      for (const name of [/sort$/, /head$/]) {
        expect(processesOf(run, name)).toHaveLength(1);
        expect(processesOf(run, name)[0]?.ended).toEqual({ kind: 'exited', code: 0 });
      }
    });

    it('gcc and its children, with their parents', () => {
      const source = scene.file(
        'hello.c',
        '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n',
      );
      const { run, status } = scene.record(['gcc', source, '-o', scene.path('hello')]);
      expect(status).toBe(0);
      expect(execFileSync(scene.path('hello'), { encoding: 'utf8' })).toBe('hello\n');
      for (const name of ['gcc', 'cc1', 'as', 'collect2', 'ld']) {
        const [found] = processesOf(run, new RegExp(`/(x86_64-linux-gnu-)?${name}(\\.bfd|-\\d+)?$`)).filter(
          ({ ended }) => ended.kind === 'exited',
        );
        expect(found, name).toBeDefined();
        if (name !== 'gcc') expect(found?.parent, name).toBeDefined();
        expect(found?.pages.length, name).toBeGreaterThan(1);
      }
      expect(pagesOf(run, source, 'read')).toEqual([0]);
      // Its own output and its temporary files are left out.
      expect(
        run.files.filter(({ path }) => path === scene.path('hello') || path.startsWith('/tmp/cc')),
      ).toEqual([]);
    });

    it('their LD_LIBRARY_PATH', () => {
      const { run } = scene.record(['sh', '-c', LIBRARY_PATHS], { env: PLAIN_ENV });
      expect(run.processes.flatMap(({ libraryPath }) => libraryPath ?? [])).toEqual(['/one:/ü', '', '/last']);
      expect(processesOf(run, /true$/).at(-1)).not.toHaveProperty('libraryPath');
    });

    it('scripts', () => {
      const script = scene.file('script', '#!/bin/sh\necho "$0 $1"\n', 0o755);
      const { run, stdout } = scene.record([script, 'word']);
      expect(stdout).toBe(`${script} word\n`);
      expect(pagesOf(run, script)).toEqual([0]);
      expect(run.command.program).toBe(script);
      expect(run.processes[0]?.program).toMatch(/sh$/);
    });

    it('static programs', () => {
      const program = scene.c('static', `${TOUCH} int main() { open_map(); touch(9); return 0; }`, '-static');
      const { run, status } = scene.record([program]);
      expect(status).toBe(0);
      expect(mapped(run)).toEqual([9]);
      expect(pagesOf(run, program, 'mapped').length).toBeGreaterThan(10);
    });
  });

  describe('threads', () => {
    it('exec by a thread that is not the leader', () => {
      const program = scene.c(
        'exec-thread',
        `${TOUCH}
      void *other(void *x) { touch(5); execl("/bin/echo", "echo", "from-thread", (char *)0); return 0; }
      void *third(void *x) { for (;;) pause(); }
      int main() { open_map(); pthread_t t; pthread_create(&t, 0, third, 0); pthread_create(&t, 0, other, 0); for (;;) pause(); }`,
        '-pthread',
      );
      const { run, stdout, status } = scene.record([program]);
      expect([stdout, status]).toEqual(['from-thread\n', 0]);
      expect(mapped(run)).toEqual([5]);
      expect(run.processes.map(({ ended }) => ended.kind)).toEqual(['execed', 'exited']);
    });

    it('a leader that ends before the others', () => {
      const program = scene.c(
        'leaderless',
        `${TOUCH}
      void *other(void *x) { usleep(200000); open_map(); touch(11); FILE *f = fopen("${DATA}", "r"); fgetc(f); chdir("/etc");
        fclose(fopen("hostname", "r")); exit(4); }
      int main() { pthread_t t; pthread_create(&t, 0, other, 0); pthread_exit(0); }`,
        '-pthread',
      );
      const { run, status } = scene.record([program]);
      expect(status).toBe(4);
      expect(mapped(run)).toEqual([11]);
      expect(run.lookups.map(({ path }) => path)).toContain('/etc/hostname');
    });

    it('threads that still run at exit, and threads that fork', () => {
      const program = scene.c(
        'busy',
        `${TOUCH}
      void *spin(void *x) { for (;;) sum++; }
      void *forks(void *x) { for (int i = 0; i < 20; i++) { if (!fork()) { touch(20 + i % 4); _exit(0); } wait(0); } return 0; }
      int main() { open_map(); pthread_t t, f[2]; for (int i = 0; i < 4; i++) pthread_create(&t, 0, spin, 0);
        for (int i = 0; i < 2; i++) pthread_create(f + i, 0, forks, 0); for (int i = 0; i < 2; i++) pthread_join(f[i], 0);
        touch(30); return 6; }`,
        '-pthread',
      );
      const { run, status } = scene.record([program]);
      expect(status).toBe(6);
      expect(mapped(run)).toEqual([20, 21, 22, 23, 30]);
      expect(run.processes).toHaveLength(41);
    });
  });

  describe('ends', () => {
    it.each([
      ['SIGKILL', 'kill(getpid(), SIGKILL)', 9],
      ['SIGSEGV', '*(volatile int *)0 = 1', 11],
      ['abort', 'abort()', 6],
    ])('%s', (_name, die, signal) => {
      const program = scene.c('dying', `${TOUCH} int main() { open_map(); touch(13); ${die}; return 0; }`);
      const { run } = scene.record(['sh', '-c', `"${program}"; true`]);
      // So soon after the start it is known to the tracer alone.
      if (way === 'from inside') return expect(noteCodes(run)).toEqual(['N_PARTLY_INSIDE']);
      expect(mapped(run)).toEqual([13]);
      expect(run.processes.at(-1)?.ended).toEqual({ kind: 'killed', signal });
    });

    it.each([
      ['SIGSEGV', '*(volatile int *)0 = 1', 11],
      ['abort', 'abort()', 6],
      ['SIGTERM of itself', 'kill(getpid(), SIGTERM)', 15],
    ])('%s after a while', (_name, die, signal) => {
      const program = scene.c(
        'late',
        `${TOUCH} int main() { open_map(); touch(13); usleep(300000); signal(SIGUSR1, SIG_IGN); raise(SIGUSR1); touch(14); ${die}; return 0; }`,
      );
      const { run } = scene.record(['sh', '-c', `"${program}"; true`]);
      expect(mapped(run)).toEqual([13, 14]);
      expect(run.processes.at(-1)?.ended).toEqual({ kind: 'killed', signal });
      expect(noteCodes(run)).toEqual([]);
    });

    it('children that are killed at once', () => {
      const program = scene.c(
        'killer',
        `int main() { for (int i = 0; i < 60; i++) { pid_t p = fork(); if (!p) for (;;) pause(); if (i % 2) usleep(i * 10); kill(p, SIGKILL); waitpid(p, 0, 0); }
        for (int i = 0; i < 20; i++) { pid_t p = fork(); if (!p) for (;;) if (!fork()) { usleep(300); _exit(0); } usleep(1000 + i * 100); kill(p, SIGKILL); waitpid(p, 0, 0); } return 0; }`,
      );
      expect(scene.record([program]).status).toBe(0);
    });

    it('daemons: recorded to their end', () => {
      const out = scene.path('daemon-out');
      const program = scene.c(
        'daemon',
        `${TOUCH} int main() { if (fork()) _exit(0); setsid(); if (fork()) _exit(0); usleep(300000); open_map(); touch(17);
        int fd = open("${out}", O_WRONLY | O_CREAT, 0644); write(fd, "x", 1); return 0; }`,
      );
      const { run, status } = scene.record([program]);
      expect(status).toBe(0);
      expect(mapped(run)).toEqual([17]);
      expect(existsSync(out)).toBe(true);
      expect(run.files.some(({ path }) => path === out)).toBe(false);
    });

    it('SIGSTOP and SIGCONT while it starts', () => {
      const program = scene.c(
        'stopper',
        `int main() { for (int i = 0; i < 40; i++) { pid_t p = fork(); if (!p) { execl("/bin/true", "true", (char *)0); _exit(1); }
        usleep(i * 50); kill(p, SIGSTOP); usleep(500); kill(p, SIGCONT); int s; waitpid(p, &s, 0); if (s) return 1; } return 0; }`,
      );
      const { run, status } = scene.record([program]);
      expect(status).toBe(0);
      expect(processesOf(run, /true$/)).toHaveLength(40);
    });
  });

  const SET_UID = `int main() { printf("%d %d\\n", getuid() == geteuid(), geteuid() == 0); return 0; }`;

  describe('set-uid programs', () => {
    /** The loader takes no audit object into them. */
    const PARTLY = way === 'traced' ? [] : ['N_PARTLY_INSIDE'];

    it.skipIf(!process.env.CI && !IS_ROOT)(
      'as an ordinary user: no filter, and a note (needs root to prepare)',
      () => {
        const program = scene.c('set-uid', SET_UID);
        execFileSync('chmod', ['4755', program]);
        const { run } = scene.record([program], { through: AS_NOBODY });
        expect(noteCodes(run)).toEqual(['N_SET_UID']);
        expect(run.method.lookups).toBe('unseen');
        expect(run.method.pages).toBe('fault-around');
      },
    );

    it.skipIf(!process.env.CI && !IS_ROOT)(
      'as a child of an ordinary user: a note (needs root to prepare)',
      () => {
        const program = scene.c('set-uid-child', SET_UID);
        execFileSync('chmod', ['4755', program]);
        const { run } = scene.record(['sh', '-c', `"${program}"; true`], { through: AS_NOBODY });
        expect(noteCodes(run)).toEqual([...PARTLY, 'N_SET_UID_CHILD']);
        expect(run.method.lookups).toBe(way === 'traced' ? 'seen' : 'unseen');
      },
    );

    it.skipIf(!process.env.CI && !IS_ROOT)('as root it keeps its rights (needs root)', () => {
      const program = scene.c('set-uid-root', SET_UID);
      execFileSync('chmod', ['4755', program]);
      const { run, stdout } = scene.record(['setpriv', '--reuid=65534', '--clear-groups', program]);
      expect(stdout).toBe('0 1\n');
      expect(noteCodes(run)).toEqual(PARTLY);
    });
  });

  describe.skipIf(!process.env.CI && !IS_ROOT)('without any right (needs root to give rights up)', () => {
    const asNobody = (...command: readonly string[]) =>
      scene.record(command, { through: AS_NOBODY, env: { ...process.env, HOME: scene.folder } });

    it('a pipeline', () => {
      const { run, stdout } = asNobody('sh', '-c', 'ls / | wc -l');
      expect(Number(stdout)).toBeGreaterThan(3);
      expect(run.method).toMatchObject({ pages: 'exact', lookups: 'seen' });
      expect(run.notes).toEqual([]);
      expect(
        pagesOf(run, readFileSync('/proc/self/maps', 'utf8').match(/\S*libc\.so\.6/)?.[0] ?? '').length,
      ).toBeGreaterThan(20);
    });

    it('exact pages, threads, exec by a thread', () => {
      const program = scene.c(
        'nobody',
        `${TOUCH} void *other(void *x) { touch(5); execl("/bin/echo", "echo", "x", (char *)0); return 0; }
      int main() { open_map(); if (!fork()) { touch(21); _exit(0); } wait(0); pthread_t t; pthread_create(&t, 0, other, 0); for (;;) pause(); }`,
        '-pthread',
      );
      const { run, status } = asNobody(program);
      expect(status).toBe(0);
      expect(mapped(run)).toEqual([5, 21]);
    });

    it('folders that it may not search', () => {
      const { run, status } = asNobody('sh', '-c', 'cat /root/secret 2>/dev/null; test -e /root/x/y; echo');
      expect(status).toBe(0);
      expect(run.lookups).toContainEqual({ path: '/root/secret', found: false });
    });
  });
});
