import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { rva } from '../base/brands.ts';
import { readElfFile } from '../elf/read.ts';
import { measureStart, measureTouched, parseStartCost, parseTouched } from './start-cost.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-start-cost-'));
afterAll(() => rmSync(folder, { recursive: true }));

const SMAPS = `560000000000-560000001000 r--p 00000000 fe:00 260336                     /usr/bin/a b
Size:                  4 kB
Anonymous:             0 kB
560000001000-560000002000 rw-p 00001000 fe:00 260336                     /usr/bin/a b
Anonymous:             4 kB
7f0000000000-7f0000003000 r-xp 00000000 fe:00 12                         /lib/ld.so
Anonymous:             4 kB
7f0000003000-7f0000006000 rw-p 00000000 00:00 0 
Anonymous:             8 kB
7fff00000000-7fff00021000 rw-p 00000000 00:00 0                          [stack]
Anonymous:            12 kB
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
Anonymous:             0 kB
`;

describe('what start-cost prints', () => {
  it('is times, and pages of files and others without the one of the breakpoint', () => {
    expect(parseStartCost(`1200 34000 1\n${SMAPS}`)).toEqual({
      execNs: 1200,
      linkNs: 34000,
      mappings: 5,
      privateFilePages: 1,
      anonymousPages: 5,
      files: new Map([
        ['/usr/bin/a b', 0x560000000000],
        ['/lib/ld.so', 0x7f0000000000],
      ]),
    });
  });

  it('is nothing where nothing was measured', () => {
    expect(parseStartCost('')).toBeUndefined();
  });
});

describe('what start-cost prints of a program that ran to its end', () => {
  const text = `1 2 0
10000-12000 r--p 00000000 fe:00 12                         /image/a.linked
Referenced:            4 kB
Anonymous:             8 kB
12000-13000 rw-p 00002000 fe:00 12                         /image/a.linked
Referenced:            4 kB
Anonymous:             4 kB
13000-16000 r--p 00003000 fe:00 12                         /image/a.linked
Referenced:           12 kB
Anonymous:             4 kB
20000-22000 r--p 00000000 fe:00 13                         /lib/libc.so.6
Referenced:            8 kB
Anonymous:             8 kB
`;

  it('is pages of one file, of those that it shows beside its own at most as many', () => {
    expect(parseTouched(text, '/image/a.linked')).toEqual({ own: 4, touched: 3 });
    expect(parseTouched(text, '/image')).toEqual({ own: 0, touched: 0 });
  });
});

describe('a measured start', () => {
  const program = join(folder, 'program');
  const proof = join(folder, 'proof');
  writeFileSync(
    `${program}.c`,
    `#include <stdio.h>
     int words[4096] = {1};
     int *pointers[] = {words, words + 1};
     __attribute__((constructor)) static void start(void) { fclose(fopen("${proof}", "w")); }
     int main(void) { return *pointers[1]; }`,
  );
  execFileSync('gcc', ['-o', program, `${program}.c`]);
  const image = readElfFile(program);
  const loader = readElfFile(image.interp ?? '');
  // Behind the call in front of which its entry stands.
  const at = { rva: rva(loader.header.entry + 8) };

  it('ends before constructors', () => {
    const start = measureStart({ program, argv: ['program'], env: {}, at });
    expect(existsSync(proof)).toBe(false);
    expect(start?.mappings).toBeGreaterThan(10);
    expect(start?.privateFilePages).toBeGreaterThan(5);
    expect(start?.linkNs).toBeGreaterThan(0);
    execFileSync(program);
    expect(existsSync(proof)).toBe(true);
  });

  it('is none where the program cannot be executed, or ends before', () => {
    const argv = ['program'];
    expect(measureStart({ program: join(folder, 'gone'), argv, env: {}, at })).toBeUndefined();
    expect(
      measureStart({
        program,
        argv,
        env: { LD_PRELOAD: '', LD_LIBRARY_PATH: folder, LD_TRACE_LOADED_OBJECTS: '1' },
        at,
      }),
    ).toBeUndefined();
  });

  it('tells the pages that the program touches when it goes on to its end, and throws away what it says', () => {
    const table = join(folder, 'table');
    const source = `#include <stdio.h>
      static int word;
      #define FOUR(x) x, x, x, x
      #define MANY(x) FOUR(FOUR(FOUR(FOUR(FOUR(FOUR(FOUR(x)))))))
      static int *volatile table[] = {MANY(&word)};
      int main(int count, char **words) {
        for (int i = 0; i < count; i++) puts("said");
        return count > 1 && table[8000] != &word;
      }`;
    writeFileSync(`${table}.c`, source);
    execFileSync('gcc', ['-fPIE', '-pie', '-o', table, `${table}.c`]);
    const touched = (...words: string[]) =>
      measureTouched({ program: table, argv: [table, ...words], env: {} }, at.rva, table);
    const [few, more] = [touched(), touched('x')];
    // 4^7 pointers are 32 pages.
    expect(few?.own).toBeGreaterThanOrEqual(32);
    expect(few?.touched).toBeLessThan(10);
    expect(more?.own).toBe(few?.own);
    expect(more?.touched).toBe((few?.touched ?? 0) + 1);
    expect(
      measureTouched({ program: join(folder, 'gone'), argv: ['x'], env: {} }, at.rva, table),
    ).toBeUndefined();
  });
});
