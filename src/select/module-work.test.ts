import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { profileOf } from '../../test/launch-scene.ts';
import { readElfFile } from '../elf/read.ts';
import { identifyFile } from '../profile/identity.ts';
import { analyseModule } from '../rewrite/analyse.ts';
import { rewriteModule } from '../rewrite/rewrite.ts';
import { workOn } from './module-work.ts';
import { contextOf } from './plan.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-module-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function compile(source: string, name: string, ...flags: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(`${path}.c`, source);
  const done = spawnSync('gcc', ['-O1', ...flags, '-o', path, `${path}.c`]);
  if (done.status !== 0) throw new Error(String(done.stderr));
  return path;
}

/** 4 MiB of code; each function has a page of its own. */
const FUNCTIONS = 1024;
const SOURCE = Array.from(
  { length: FUNCTIONS },
  (_, i) => `__attribute__((aligned(4096))) int f${i}(int x) { return x + ${i}; }`,
).join('\n');

/** Maps a file as the dynamic loader does, reads the byte at an offset, and says how many pages it has then. */
const TOUCH = `
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv) {
  int fd = open(argv[1], O_RDONLY), pagemap = open("/proc/self/pagemap", O_RDONLY);
  long size = lseek(fd, 0, SEEK_END), count = 0;
  volatile char *at = mmap(0, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  if (argc < 3 || at == MAP_FAILED) return 1;
  (void)at[atol(argv[2])];
  for (long page = 0; page < size / 4096; page++) {
    uint64_t entry = 0;
    if (pread(pagemap, &entry, 8, ((uintptr_t)at / 4096 + page) * 8) != 8) return 1;
    count += entry >> 63;
  }
  printf("%ld", count);
}
`;

describe('a written module', () => {
  it('lies in the page cache in single pages: a fault maps 16 of them, and no megabytes', () => {
    const library = compile(SOURCE, 'libx.so', '-shared', '-fPIC', '-nostdlib');
    const touch = compile(TOUCH, 'touch');
    const use = {
      path: library,
      identity: identifyFile(library),
      entered: readElfFile(library).staticSymbols.flatMap(({ name, rva: at }) =>
        at !== undefined && /^f\d*[05]$/.test(name) ? [at] : [],
      ),
      touched: [],
    };
    const context = contextOf(profileOf({ program: '/bin/true', argv: ['x'], files: [] }), { cold: 'file' });
    const job = { use, context, file: '00-libx.so', folder };
    expect(workOn(job, { analyse: analyseModule, rewrite: rewriteModule }).kind).toBe('built');
    const written = join(folder, '00-libx.so');
    const middle = readFileSync(library).length >> 1;
    const { stdout, status } = spawnSync(touch, [written, String(middle)], { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(Number(stdout)).toBeGreaterThanOrEqual(1);
    expect(Number(stdout)).toBeLessThanOrEqual(16);
  });
});
