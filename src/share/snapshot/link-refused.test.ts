/** What gets no image, each with its reason; and words that nothing explains, which are named. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { isThere } from '../../../test/support/files.ts';
import { linked, refused, SnapshotScene } from '../../../test/support/snapshot-scene.ts';
import { linkProgram } from './link.ts';

const scene = new SnapshotScene();
afterAll(() => scene.remove());

const NOTHING = 'int main(void) { return 0; }';

/** A program whose resolver does something on its way. */
const resolving = (name: string, global: string, does: string): string =>
  scene.program(
    name,
    `${global}
static int chosen(void) { return 0; }
static int (*resolve(void))(void) { ${does}; return chosen; }
int f(void) __attribute__((ifunc("resolve")));
int main(void) { return f(); }`,
    '-Wl,-z,now',
    '-Wl,-z,lazy',
    '-fno-stack-protector',
  );

describe('a resolver', () => {
  it('that keeps the time leaves a word without a cause, which is named', () => {
    const path = resolving('timed', 'long first = 1, stamp;', 'stamp = __builtin_ia32_rdtsc()');
    const { reason, detail } = refused(path);
    expect(reason).toBe('a word without a cause');
    expect(detail).toMatch(/^stamp in timed: 0x[0-9a-f]+, 0x[0-9a-f]+, 0x[0-9a-f]+ in 3 runs$/);
  });

  it('that keeps the distance of two anchors has no cause', () => {
    const global =
      'extern char **environ; long far; extern int puts(const char *); int (*p)(const char *) = puts; int x;';
    const { reason, detail } = refused(resolving('far', global, 'far = (char *)&x - (char *)p'));
    expect({ reason, detail }).toMatchObject({
      reason: 'a word without a cause',
      detail: expect.stringMatching(/^far in far: /),
    });
  });

  it('that keeps half an address has no cause', () => {
    const half = resolving('half', 'int x; unsigned half;', 'half = (unsigned)(unsigned long)&x');
    expect(refused(half)).toMatchObject({
      reason: 'a word without a cause',
      detail: expect.stringMatching(/ in half: /),
    });
  });

  it('that keeps an address of its stack has no cause', () => {
    const kept = resolving(
      'kept',
      'void *volatile at;',
      'char here[64]; __asm__ volatile("" :: "r"(here)); at = here',
    );
    expect(refused(kept)).toMatchObject({
      reason: 'a word without a cause',
      detail: expect.stringMatching(/^at in kept: /),
    });
  });

  it('that asks the kernel for something is refused by the call', () => {
    const call =
      'static long call(long n) { long r; __asm__ volatile("syscall" : "=a"(r) : "0"(n) : "rcx", "r11", "memory"); return r; } long got;';
    const { reason, detail } = refused(resolving('pid', call, 'got = call(39)'));
    expect(reason).toBe('an unknown system call');
    expect(detail).toMatch(/^number 39,/);
  });

  it('that writes a file writes none', () => {
    const marker = scene.path('marker');
    const opens = `static long call(long n, long a, long b, long c, long d) { long r; register long r10 __asm__("r10") = d;
__asm__ volatile("syscall" : "=a"(r) : "0"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory"); return r; }`;
    const path = resolving('writes', opens, `call(257, -100, (long)"${marker}", 0101, 0600)`);
    expect(refused(path)).toMatchObject({
      reason: 'an unknown system call',
      detail: `a file is opened for writing: ${marker}`,
    });
    expect(existsSync(marker)).toBe(false);
  });

  it('that leaves a file open, or asks for another limit than that of the stack, is refused', () => {
    const call = `static long call(long n, long a, long b, long c, long d) { long r; register long r10 __asm__("r10") = d;
__asm__ volatile("syscall" : "=a"(r) : "0"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory"); return r; }`;
    const opens = resolving('opens', call, 'call(257, -100, (long)"/etc/passwd", 0, 0)');
    expect(refused(opens)).toMatchObject({ reason: 'a file left open', detail: '/etc/passwd' });
    const reads = resolving('reads', `${call} char got;`, 'call(0, 0, (long)&got, 1, 0)');
    expect(refused(reads)).toMatchObject({ reason: 'an unknown system call', detail: 'read from file 0' });
    const asks = resolving('asks', `${call} long limit[2];`, 'call(302, 0, 7, 0, (long)limit)');
    expect(refused(asks)).toMatchObject({ reason: 'an unknown system call', detail: 'prlimit64 of limit 7' });
  });

  it('that crashes is told', () => {
    const path = resolving('crash', '', '*(volatile int *)0 = 1');
    expect(refused(path)).toMatchObject({ reason: 'a signal before the first constructor' });
  });
});

describe('a program without an image', () => {
  it('is static', () => {
    expect(refused(scene.compile('static', NOTHING, '-static'))).toMatchObject({
      reason: 'not dynamically linked',
    });
    const pie = scene.compile('static-pie', NOTHING, '-static-pie');
    expect(refused(pie)).toMatchObject({ reason: 'not dynamically linked' });
  });

  it.skipIf(!isThere('musl-gcc'))('is linked to musl', () => {
    writeFileSync(scene.path('musl.c'), NOTHING);
    execFileSync('musl-gcc', ['-o', 'musl', 'musl.c'], { cwd: scene.folder });
    expect(refused(scene.path('musl'))).toMatchObject({ reason: 'musl' });
  });

  it('is for another class or machine', () => {
    const bytes = readFileSync(scene.compile('other', NOTHING));
    const write = (name: string, at: number, value: number): string => {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(value, at);
      writeFileSync(scene.path(name), changed, { mode: 0o755 });
      return scene.path(name);
    };
    const EI_CLASS = 4;
    const E_MACHINE = 18;
    expect(refused(write('bits', EI_CLASS, 1))).toMatchObject({ reason: 'a 32-bit program' });
    expect(refused(write('arm', E_MACHINE, 183))).toMatchObject({ reason: 'a program for another machine' });
  });

  it('gets rights from its file', () => {
    const path = scene.compile('rights', NOTHING);
    chmodSync(path, 0o4755);
    expect(refused(path)).toMatchObject({ reason: 'a set-user-id program' });
    chmodSync(path, 0o2755);
    expect(refused(path)).toMatchObject({ reason: 'a set-user-id program' });
  });

  it('is a script', () => {
    writeFileSync(scene.path('script'), '#!/bin/sh\n', { mode: 0o755 });
    expect(refused(scene.path('script'))).toMatchObject({
      reason: 'a script',
      detail: expect.stringContaining('/bin/sh'),
    });
  });

  it('names an audit module', () => {
    const path = scene.compile('audited', NOTHING, '-Wl,--audit=libaudit.so');
    expect(refused(path)).toMatchObject({ reason: 'an audit module' });
  });

  it('lacks a library: the loader’s own words are the detail, and appear nowhere', () => {
    scene.library('libgone.so', 'int f(void) { return 0; }');
    const path = scene.program('lacking', 'int f(void); int main(void) { return f(); }', 'libgone.so');
    rmSync(scene.path('libgone.so'));
    const { reason, detail } = refused(path);
    expect(reason).toBe('the loader complains');
    expect(detail).toContain('libgone.so: cannot open shared object file');
  });

  it('has a library that needs an executable stack, which is no part of an image', () => {
    scene.library('libstack.so', 'int f(void) { return 0; }', '-Wl,-z,execstack');
    const main = 'int f(void); int main(void) { return f(); }';
    expect(refused(scene.program('stack', main, 'libstack.so'))).toMatchObject({
      reason: 'a library that needs an executable stack',
    });
    // The kernel gives it to a program that asks for it itself.
    linked(scene.program('own-stack', main, 'libstack.so', '-Wl,-z,execstack'));
  });

  it('finds its libraries by the folder that it is started in', () => {
    mkdirSync(scene.path('lib'));
    scene.library('libhere.so', 'int f(void) { return 0; }');
    copyFileSync(scene.path('libhere.so'), scene.path('lib/libhere.so'));
    const path = scene.compile(
      'relative',
      'int f(void); int main(void) { return f(); }',
      'libhere.so',
      '-Wl,-rpath,.',
    );
    expect(refused(path).reason).toMatch(/^the loader (complains|looks elsewhere)/);
  });

  it('has a loader that does not begin as glibc’s', () => {
    const loader = scene.path('loader.so');
    const interp = '/lib64/ld-linux-x86-64.so.2';
    const bytes = Buffer.from(readFileSync(interp));
    const entry = Number(bytes.readBigUInt64LE(24));
    bytes.writeUInt8(0x90, entry);
    writeFileSync(loader, bytes, { mode: 0o755 });
    const path = scene.compile('unknown', NOTHING, `-Wl,--dynamic-linker=${loader}`);
    expect(refused(path)).toMatchObject({ reason: 'an unknown dynamic loader' });
  });

  it('cannot be started for a loader that is not there', () => {
    const path = scene.compile('orphan', NOTHING, '-Wl,--dynamic-linker=/nowhere/ld.so');
    expect(refused(path)).toMatchObject({ reason: 'the kernel does not start it' });
  });
});

describe('what is no program', () => {
  it('is an error with a code', () => {
    expect(() => linkProgram(scene.path('nothing'))).toThrow(
      expect.objectContaining({ code: 'E_PROGRAM_NOT_FOUND' }),
    );
    expect(() => linkProgram(scene.folder)).toThrow(
      expect.objectContaining({ code: 'E_PROGRAM_NOT_EXECUTABLE' }),
    );
    writeFileSync(scene.path('text'), 'text', { mode: 0o755 });
    expect(() => linkProgram(scene.path('text'))).toThrow(
      expect.objectContaining({ code: 'E_PROGRAM_FORMAT' }),
    );
  });
});
