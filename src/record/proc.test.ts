import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tid } from '../base/brands.ts';
import { isTrapOnItsWay } from './proc.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-proc-'));
const program = join(folder, 'sends');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(() => {
  writeFileSync(`${program}.c`, SOURCE);
  execFileSync('gcc', ['-w', '-o', program, `${program}.c`]);
});

describe('a SIGTRAP that is on its way', () => {
  // How it is sent to a stopped process, which cannot take it.
  it.each([
    ['to the thread', 'thread', true],
    ['to the thread, which blocks it', 'blocked', false],
    ['to the process', 'process', false],
    ['another signal', 'other', false],
  ])('%s', async (_name, how, expected) => {
    const child = spawn(program, [how]);
    try {
      const [line] = await once(child.stdout, 'data');
      expect(isTrapOnItsWay(tid(Number(line)))).toBe(expected);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('is none of a process that is gone', () => {
    expect(isTrapOnItsWay(tid(2 ** 22))).toBe(false);
  });
});

const SOURCE = `#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int n, char **v) {
  sigset_t trap; sigemptyset(&trap); sigaddset(&trap, SIGTRAP);
  if (!strcmp(v[1], "blocked")) sigprocmask(SIG_BLOCK, &trap, 0);
  pid_t child = fork();
  if (child == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); raise(SIGSTOP); pause(); }
  int status; waitpid(child, &status, WUNTRACED);
  if (!strcmp(v[1], "process")) kill(child, SIGTRAP);
  else syscall(SYS_tgkill, child, child, strcmp(v[1], "other") ? SIGTRAP : SIGUSR1);
  printf("%d\\n", child); fflush(stdout);
  pause();
}`;
