/** Where the system or a container forbids something, and commands that cannot be started. */
import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AS_NOBODY, filesIn, IS_ROOT, noteCodes, pagesOf, Scene } from './record-scene.ts';

/** By the tracer; from inside: record-inside.test.ts. */
const scene = new Scene('--traced');
const untraced = new Scene();
afterAll(() => {
  scene.close();
  untraced.close();
});

const DATA = scene.file('data', Buffer.alloc(100 * 4096, 1));
let deny = '';
let program = '';
beforeAll(() => {
  deny = scene.c('deny', DENY);
  program = scene.c(
    'program',
    `static volatile int sum; int main() { int fd = open("${DATA}", O_RDONLY); char *m = mmap(0, 100 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
      sum = m[50 * 4096]; puts("ran"); return 5; }`,
  );
});

/** Under a seccomp filter: the call gives an error (with `argument`, only where its second argument is that). */
const without = (call: number, errno: number, argument = 0) => ({
  through: [deny, String(call), String(errno), String(argument)],
});
const EPERM = 1;
const ENOSYS = 38;
const ENOTTY = 25;

describe('refused', () => {
  it('ptrace: the program is not started', () => {
    const done = scene.record([program], without(101, EPERM));
    expect([done.status, done.stdout]).toEqual([125, '']);
    expect(done.stderr).toMatch(/^winnow: E_PTRACE_REFUSED: .*\n {2}where: ptrace: EPERM\n {2}next: /);
  });

  it.each([EPERM, ENOSYS])('seccomp (errno %i): recorded without the filter', (errno) => {
    const { run, status, stdout } = scene.record([program], without(317, errno));
    expect([status, stdout]).toEqual([5, 'ran\n']);
    expect(noteCodes(run)).toEqual(['N_NO_LOOKUPS']);
    expect(run.method).toMatchObject({ lookups: 'unseen', pages: 'fault-around' });
    expect(pagesOf(run, DATA, 'mapped')).toContain(50);
  });

  it('--no-filter says the same of itself', () => {
    const { run } = untraced.record([program], { options: ['--no-filter'] });
    expect(noteCodes(run)).toEqual(['N_NO_LOOKUPS']);
    expect(run.notes[0]?.text).toMatch(/as asked/);
  });

  it.each([EPERM, ENOSYS])('userfaultfd (errno %i): pages are rounded up', (errno) => {
    const { run, status } = scene.record([program], without(323, errno));
    expect(status).toBe(5);
    expect(noteCodes(run)).toEqual(['N_FAULT_AROUND']);
    expect(run.method.pages).toBe('fault-around');
    expect(pagesOf(run, DATA, 'mapped').length).toBeGreaterThan(1);
    expect(pagesOf(run, DATA, 'mapped')).toContain(50);
  });

  it('PAGEMAP_SCAN: the bits of pagemap say the same', () => {
    const { run, status } = scene.record([program], without(16, ENOTTY, 0xc0606610));
    expect(status).toBe(5);
    expect(run.notes).toEqual([]);
    expect(pagesOf(run, DATA, 'mapped')).toEqual([50]);
  });

  it('pidfd_getfd: no listener, so no filter either', () => {
    const { run, status, stdout } = scene.record([program], without(438, EPERM));
    expect([status, stdout]).toEqual([5, 'ran\n']);
    expect(noteCodes(run)).toEqual(['N_NO_LOOKUPS', 'N_FAULT_AROUND']);
  });

  it('programs with filters of their own are left alone', () => {
    const { run, status } = scene.record(['sh', '-c', `"${deny}" 323 1 0 "${program}"; exit 0`]);
    expect(status).toBe(0);
    expect(noteCodes(run)).toEqual(['N_SANDBOXED']);
    expect(pagesOf(run, DATA, 'mapped')).toContain(50);
  });
});

describe('commands that cannot be started', () => {
  /** An ELF header of another class or machine. */
  const elf = (elfClass: number, machine: number): Buffer => {
    const bytes = Buffer.alloc(64);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, elfClass, 1, 1]);
    bytes.writeUInt16LE(2, 16);
    bytes.writeUInt16LE(machine, 18);
    bytes.writeUInt32LE(1, 20);
    return bytes;
  };

  it.each<[string, () => string, string, number]>([
    ['no such name', () => 'no-such-program-at-all', 'E_PROGRAM_NOT_FOUND', 127],
    ['no such path', () => './missing', 'E_PROGRAM_NOT_FOUND', 127],
    ['a folder', () => scene.folder, 'E_PROGRAM_NOT_EXECUTABLE', 126],
    ['text without #!', () => scene.file('text', 'echo hello\n', 0o755), 'E_PROGRAM_FORMAT', 126],
    ['not executable', () => scene.file('plain', '#!/bin/sh\n', 0o644), 'E_PROGRAM_NOT_EXECUTABLE', 126],
    [
      'an interpreter that is missing',
      () => scene.file('orphan', '#!/none/sh\n', 0o755),
      'E_PROGRAM_START',
      126,
    ],
    ['32-bit ELF', () => scene.file('elf32', elf(1, 3), 0o755), 'E_ELF_CLASS', 125],
    ['aarch64 ELF', () => scene.file('arm', elf(2, 183), 0o755), 'E_ELF_MACHINE', 125],
  ])('%s', (_name, make, code, status) => {
    const done = scene.record([make()], {});
    expect([done.stderr.split(': ')[1], done.status]).toEqual([code, status]);
    expect(done.stderr).toMatch(/\n {2}where: .*\n {2}next: {2}\S/);
    expect(filesIn(done.store).filter((name) => /it|tmp/.test(name) && !name.endsWith('.lock'))).toEqual([]);
  });

  it('names the interpreter that is missing', () => {
    const done = scene.record([scene.file('orphan2', '#!/none/interpreter -x\n', 0o755)]);
    expect(done.stderr).toContain('/none/interpreter');
  });

  it.skipIf(!process.env.CI && !IS_ROOT)('a folder on PATH that cannot be searched (needs root)', () => {
    const closed = scene.path('closed');
    execFileSync('mkdir', ['-p', closed]);
    chmodSync(closed, 0o700);
    const env = { ...process.env, PATH: `${closed}:${process.env.PATH}` };
    const found = scene.record(['true'], { through: AS_NOBODY, env });
    expect([found.status, found.stderr.includes('E_INTERNAL')]).toEqual([0, false]);
    expect(scene.record([`${closed}/x`], { through: AS_NOBODY }).status).toBe(126);
  });

  it('no command, and times that are none', () => {
    expect(scene.record([]).status).toBe(2);
    for (const time of ['0', 'soon', '-1s']) {
      expect(scene.record(['true'], { options: [`--for=${time}`] }).stderr).toContain('E_USAGE');
    }
  });
});

const DENY = `
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(int argc, char **argv) {
  unsigned argument = strtoul(argv[3], 0, 0);
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, atoi(argv[1]), 0, argument ? 3 : 1),
    argument ? (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 24) : (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(argv[2])),
    argument ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, argument, 0, 1) : (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | atoi(argv[2])),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {6, code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) return 99;
  execvp(argv[4], argv + 4);
  return 98;
}`;
