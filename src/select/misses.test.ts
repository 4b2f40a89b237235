import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readElfFile } from '../elf/read.ts';
import { PF_X, PT_LOAD } from '../elf/spec.ts';
import { mergeRuns } from '../profile/merge.ts';
import { type Recording, record } from '../record/recorder.ts';
import { Misses, nameMisses, runOfMisses } from './misses.ts';
import { modulesUsed } from './uses.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-misses-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Each function on pages of its own; `wide` goes on on a second one. */
const LIBRARY = `
#define PAGE __attribute__((noinline, aligned(4096)))
PAGE int first(int x) { return x + 1; }
PAGE int unused(int x) { return x * 3; }
PAGE int second(int x) { return x * 2; }
PAGE int wide(int x) { __asm__ volatile(".rept 5000\\n nop\\n .endr"); return x; }
`;

const MAIN = `
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int first(int), unused(int), second(int), wide(int);
static void on_segv(int signal) { (void)signal; _exit(9); }
int main(int argc, char **argv) {
  signal(SIGSEGV, on_segv);
  int x = second(first(1));
  if (fork() == 0) _exit(wide(0));
  int status;
  wait(&status);
  if (argc > 1) *(volatile int *)first = 1;
  printf("%d %d\\n", wide(x), status);
  return 0;
}
`;

function build(): { program: string; library: string } {
  const library = join(folder, 'libmissed.so');
  const program = join(folder, 'main');
  writeFileSync(join(folder, 'lib.c'), LIBRARY);
  writeFileSync(join(folder, 'main.c'), MAIN);
  const gcc = (...words: string[]): void => {
    const done = spawnSync('gcc', ['-O1', '-g0', ...words], { cwd: folder, encoding: 'utf8' });
    if (done.status !== 0) throw new Error(done.stderr);
  };
  gcc('-shared', '-fPIC', '-nostdlib', '-o', library, 'lib.c');
  gcc('-o', program, 'main.c', library, `-Wl,-rpath,${folder}`);
  return { program, library };
}

/** Takes the right to execute from the library’s code, as an image with `--cold deny` does. */
function deny(path: string): void {
  const bytes = readFileSync(path);
  const { header, segments } = readElfFile(path);
  for (const { index, type, flags } of segments) {
    if (type === PT_LOAD && (flags & PF_X) !== 0)
      bytes.writeUInt32LE(flags & ~PF_X, header.segmentsAt + index * 56 + 4);
  }
  writeFileSync(path, bytes);
}

describe('Misses', () => {
  const { program, library } = build();
  deny(library);
  const misses = new Misses([
    { path: library, file: library, inode: statSync(library, { bigint: true }).ino },
  ]);
  const run = (...words: string[]): Recording =>
    record({
      command: { program, argv: [program, ...words], cwd: folder },
      env: {},
      openFiles: 0,
      ignoredSignals: '0',
      blockedSignals: '0',
      descriptors: [],
      stopAfterMs: undefined,
      filter: false,
      observers: [misses],
    });

  it('lets a program go on where it comes to code that it may not execute, and notes the place', () => {
    expect(spawnSync(program).status, 'without a tracer it cannot run').toBe(9);
    expect(run().ended).toEqual({ kind: 'exited', code: 0 });
    const named = nameMisses(misses.found, () => undefined);
    // The child and its parent come to `wide` each on its own.
    expect(named.map(({ name, times }) => [name, times])).toEqual([
      ['first', 1],
      ['second', 1],
      ['wide', 2],
      [expect.stringMatching(/^wide\+0x/), 2],
    ]);
    expect(named.every(({ module }) => module === library)).toBe(true);
  });

  it('leaves other faults to the program', () => {
    expect(run('write').ended).toEqual({ kind: 'exited', code: 9 });
  });

  it('makes a run that knows the missed functions, and nothing else that a profile would count', () => {
    const named = nameMisses(misses.found, () => undefined);
    const command = { program, argv: [program], cwd: folder };
    const ended = { kind: 'exited', code: 0 } as const;
    const missed = runOfMisses(named, { command, startedAt: 1, durationMs: 1, ended, kernel: '6' });
    const [use] = modulesUsed({ name: 'missed', runs: mergeRuns([missed]) });
    expect(use).toMatchObject({ path: library, touched: [] });
    expect(use?.entered).toEqual(named.map(({ at }) => at));
  });
});
