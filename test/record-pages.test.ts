/** What is recorded of files: pages touched, reads, look-ups, their order, and what is left out. */
import { execFileSync } from 'node:child_process';
import { statfsSync, symlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { pagesOf, Scene, WAYS } from './record-scene.ts';

describe.each(WAYS)('$way', ({ way, options }) => {
  const scene = new Scene(...options);
  afterAll(() => scene.close());

  const PAGE = 4096;
  const BIG_PAGES = 300;
  const BIG = scene.file('big', Buffer.alloc(BIG_PAGES * PAGE, 7));
  const SMALL = scene.file('small', Buffer.alloc(3 * PAGE, 7));
  const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
  const main = (body: string): string =>
    `static volatile int sum; int main(int argc, char **argv) { ${body} return 0; }`;
  let serial = 0;
  const run = (body: string, ...flags: readonly string[]) => {
    const done = scene.record([scene.c(`p${serial++}`, main(body), ...flags)]);
    expect(done.status).toBe(0);
    return done.run;
  };
  const OPEN = `int fd = open("${BIG}", O_RDONLY); char *m = mmap(0, ${BIG_PAGES * PAGE}, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);`;

  describe('mapped pages', () => {
    it('exactly those touched, in a file that is in memory', () => {
      const found = run(`${OPEN} sum = m[0] + m[100 * 4096] + m[101 * 4096];`);
      expect(pagesOf(found, BIG, 'mapped')).toEqual([0, 100, 101]);
      expect(found.method.pages).toBe('exact');
    });

    it('pages copied on write', () => {
      expect(pagesOf(run(`${OPEN} m[50 * 4096] = 1; m[60 * 4096]++;`), BIG, 'mapped')).toEqual([50, 60]);
    });

    it('pages of a mapping that is gone before the end', () => {
      const found = run(`${OPEN} sum = m[7 * 4096] + m[200 * 4096]; munmap(m, ${BIG_PAGES * PAGE});`);
      expect(pagesOf(found, BIG, 'mapped')).toEqual([7, 200]);
    });

    it('pages before an exec', () => {
      expect(
        pagesOf(run(`${OPEN} sum = m[9 * 4096]; execl("/bin/true", "true", (char *)0);`), BIG, 'mapped'),
      ).toEqual([9]);
    });

    it('a file opened, mapped and closed by a child of fork', () => {
      expect(
        pagesOf(run(`if (!fork()) { ${OPEN} sum = m[77 * 4096]; _exit(0); } wait(0);`), BIG, 'mapped'),
      ).toEqual([77]);
    });

    it('libraries of dlopen, also after dlclose', () => {
      const library = scene.c('lib.so', 'int answer(void) { return 42; }', '-shared', '-fPIC');
      const code = `void *l = dlopen("${library}", RTLD_NOW); sum = ((int (*)(void))dlsym(l, "answer"))();`;
      const kept = pagesOf(run(code), library, 'mapped');
      const closed = pagesOf(run(`${code} dlclose(l);`), library, 'mapped');
      expect(kept.length).toBeGreaterThan(2);
      expect(closed).toEqual(kept);
    });
  });

  describe('read pages', () => {
    it('small files count whole', () => {
      expect(
        pagesOf(run(`int fd = open("${SMALL}", O_RDONLY); char c; read(fd, &c, 1);`), SMALL, 'read'),
      ).toEqual([0, 1, 2]);
    });

    it.each<[string, string, number[]]>([
      ['read', 'read(fd, b, 5 * 4096);', range(0, 5)],
      [
        'read after the descriptor is closed',
        'read(fd, b, 5 * 4096); close(fd); open("/dev/null", O_RDONLY);',
        range(0, 5),
      ],
      ['lseek', 'read(fd, b, 4096); lseek(fd, 100 * 4096, SEEK_SET); read(fd, b, 2 * 4096);', [0, 100, 101]],
      ['lseek from the end', 'lseek(fd, -2 * 4096, SEEK_END); read(fd, b, 4096);', [BIG_PAGES - 2]],
      ['pread', 'pread(fd, b, 4096, 40 * 4096); pread(fd, b, 8192, 90 * 4096);', [40, 90, 91]],
      ['readv', 'struct iovec v[2] = {{b, 4096}, {b + 8192, 4096}}; readv(fd, v, 2);', [0, 1]],
      ['nothing', '', []],
    ])('a large file: %s', (_name, reads, pages) => {
      const found = run(`static char b[65536]; int fd = open("${BIG}", O_RDONLY); ${reads}`);
      expect(pagesOf(found, BIG, 'read')).toEqual(pages);
    });

    const FOLDER = dirname(BIG);
    const BUFFER = 'static char b[65536];';
    it.each<[string, string, number[], number[]]>([
      [
        'by a relative path',
        `chdir("${FOLDER}"); open("small", O_RDONLY); read(open("./big", O_RDONLY), b, 4096);`,
        [0, 1, 2],
        [0],
      ],
      [
        'relative to a descriptor',
        `int d = open("${FOLDER}", O_RDONLY | O_DIRECTORY); openat(d, "small", O_RDONLY); read(openat(d, "big", O_RDONLY), b, 4096);`,
        [0, 1, 2],
        [0],
      ],
      [
        'by a child of fork, which jumps in it',
        `if (!fork()) { open("${SMALL}", O_RDONLY); int fd = open("${BIG}", O_RDONLY); lseek(fd, 100 * 4096, SEEK_SET); read(fd, b, 4096); _exit(0); } wait(0);`,
        [0, 1, 2],
        [100],
      ],
      [
        'a jump in a descriptor that is another file’s now',
        `int fd = open("${BIG}", O_RDONLY); read(fd, b, 4096); close(fd); open("${SMALL}", O_RDONLY); lseek(fd, 100 * 4096, SEEK_SET);`,
        [0, 1, 2],
        [0],
      ],
      [
        'a jump in a duplicate, which the tracer does not follow: all before it counts',
        `int fd = open("${BIG}", O_RDONLY); int e = dup(fd); lseek(e, 100 * 4096, SEEK_SET); read(fd, b, 4096);`,
        [],
        way === 'traced' ? range(0, 101) : [100],
      ],
      [
        'back and forth',
        `int fd = open("${BIG}", O_RDONLY); for (int i = 50; i < 250; i += 50) { lseek(fd, i * 4096, SEEK_SET); read(fd, b, 4096); lseek(fd, 0, SEEK_SET); read(fd, b, 4096); }`,
        [],
        [0, 50, 100, 150, 200],
      ],
    ])('opened %s', (_name, body, small, big) => {
      const found = run(`${BUFFER} ${body}`);
      expect(pagesOf(found, SMALL, 'read')).toEqual(small);
      expect(pagesOf(found, BIG, 'read')).toEqual(big);
    });

    it('opened by a thread, which jumps in it', () => {
      const source = `${BUFFER} static void *work(void *p) { open("${SMALL}", O_RDONLY); int fd = open("${BIG}", O_RDONLY);
      lseek(fd, 100 * 4096, SEEK_SET); read(fd, b, 4096); return p; }
      int main(void) { pthread_t t; pthread_create(&t, 0, work, 0); pthread_join(t, 0); return 0; }`;
      const { run: found } = scene.record([scene.c(`p${serial++}`, source, '-pthread')]);
      expect(pagesOf(found, SMALL, 'read')).toEqual([0, 1, 2]);
      expect(pagesOf(found, BIG, 'read')).toEqual([100]);
    });
  });

  describe('look-ups', () => {
    const lookups = (body: string) => new Map(run(body).lookups.map(({ path, found }) => [path, found]));

    it('found and not found, relative to a folder and to a descriptor', () => {
      execFileSync('mkdir', ['-p', scene.path('a/b')]);
      scene.file('a/b/there', 'x');
      const found =
        lookups(`chdir("${scene.path('a')}"); struct stat s; stat("b/there", &s); access("b/missing", R_OK);
      int d = open("b", O_RDONLY | O_DIRECTORY); openat(d, "there", O_RDONLY); openat(d, "../none", O_RDONLY);`);
      expect(found.get(scene.path('a/b/there'))).toBe(true);
      expect(found.get(scene.path('a/b/missing'))).toBe(false);
      expect(found.get(scene.path('a/none'))).toBe(false);
    });

    it('`..` behind a symbolic link leads where the kernel goes', () => {
      execFileSync('mkdir', ['-p', scene.path('c/deep')]);
      scene.file('c/beside', Buffer.alloc(10));
      symlinkSync(scene.path('c/deep'), scene.path('link'));
      const found = run(`open("${scene.path('link')}/../beside", O_RDONLY);`);
      expect(pagesOf(found, scene.path('c/beside'), 'read')).toEqual([0]);
    });

    it('a program started through a link and `..`', () => {
      const program = scene.c('c/program', main(''));
      const found = scene.record([`${scene.path('link')}/../program`]);
      expect(found.status).toBe(0);
      expect(pagesOf(found.run, program).length).toBeGreaterThan(0);
    });

    it('symbolic links: the file behind them', () => {
      symlinkSync(BIG, scene.path('link-to-big'));
      const found = run(
        `static char b[8192]; int fd = open("${scene.path('link-to-big')}", O_RDONLY); read(fd, b, 8192);`,
      );
      expect(pagesOf(found, BIG, 'read')).toEqual([0, 1]);
      expect(found.lookups).toContainEqual({ path: scene.path('link-to-big'), found: true });
    });

    it('names of a process for itself', () => {
      const found = run(`static char b[4096]; int fd = open("/proc/self/exe", O_RDONLY); read(fd, b, 4096);`);
      expect(found.files.some(({ path }) => path.endsWith('/node'))).toBe(false);
      expect(found.files.some(({ path }) => path.startsWith('/proc'))).toBe(false);
    });
  });

  describe('order', () => {
    it('is that of first use, the program and its loader first', () => {
      const [b, a] = [scene.file('first-b', 'b'), scene.file('second-a', 'a')];
      const paths = run(`open("${b}", O_RDONLY); open("${a}", O_RDONLY); open("${b}", O_RDONLY);`).files.map(
        ({ path }) => path,
      );
      expect(paths[0]).toBe(scene.path(`p${serial - 1}`));
      expect(paths[1]).toMatch(/ld-linux/);
      expect(paths.findIndex((path) => path.endsWith('libc.so.6'))).toBeLessThan(paths.indexOf(b));
      expect(paths.indexOf(b)).toBeLessThan(paths.indexOf(a));
    });
  });

  describe('left out', () => {
    const files = (body: string): string[] => run(body).files.map(({ path }) => path);

    it('what the program writes or creates, also under another name or with an old date', () => {
      const made = scene.path('made');
      const found = files(`int fd = open("${made}", O_RDWR | O_CREAT, 0644); write(fd, "x", 1); close(fd);
      rename("${made}", "${made}2"); struct timespec old[2] = {{1000, 0}, {1000, 0}}; utimensat(AT_FDCWD, "${made}2", old, 0);
      fd = open("${made}2", O_RDONLY); char c; read(fd, &c, 1); fd = creat("${made}3", 0644); write(fd, "x", 1); open("${made}3", O_RDONLY);`);
      expect(found.filter((path) => path.startsWith(made))).toEqual([]);
    });

    it('files that were deleted or replaced', () => {
      const copy = scene.path('copy');
      execFileSync('cp', ['-p', BIG, copy]);
      execFileSync('cp', ['-p', BIG, `${copy}.new`]);
      const found =
        run(`int fd = open("${copy}", O_RDONLY); char *m = mmap(0, 40960, PROT_READ, MAP_PRIVATE, fd, 0); sum = m[0];
      rename("${copy}.new", "${copy}"); int gone = open("${SMALL}", O_RDONLY);`);
      expect(pagesOf(found, copy, 'mapped')).toEqual([]);
    });

    it.skipIf(!process.env.CI && statfsSync('/dev/shm').type !== 0x01021994)(
      'files in memory (needs /dev/shm)',
      () => {
        const name = `/dev/shm/winnow-test-${process.pid}`;
        try {
          execFileSync('cp', [BIG, name]);
          const found = run(
            `int fd = open("${name}", O_RDONLY); char c; read(fd, &c, 1); struct stat s; stat("/proc/version", &s);`,
          );
          expect(found.files.some(({ path }) => path === name)).toBe(false);
          expect(found.lookups.some(({ path }) => path === name || path.startsWith('/proc'))).toBe(false);
        } finally {
          execFileSync('rm', ['-f', name]);
        }
      },
    );
  });

  describe('borrowed descriptors', () => {
    it('a program with a lock on a large file lets go of it', () => {
      const body = `int fd = open("${BIG}", O_RDONLY); flock(fd, 2); close(fd); open("/dev/null", O_RDONLY); fd = open("${BIG}", O_RDONLY); if (flock(fd, 2 | 4)) return 9;`;
      run(body);
    });
  });
});
