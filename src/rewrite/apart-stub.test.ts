import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { rva } from '../base/brands.ts';
import { readElf, readElfFile } from '../elf/read.ts';
import { analyseModule } from './analyse.ts';
import type { RewriteOptions, RewrittenModule } from './model.ts';
import { restoreModule } from './restore.ts';
import { rewriteModule } from './rewrite.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-apart-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Says what it was started with, and which mappings its code has; what exit() calls comes to it in %rdx at its start. */
const SOURCE = String.raw`
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define PAGE __attribute__((noinline, aligned(4096)))
${Array.from({ length: 12 }, (_, i) => `PAGE int f${i}(int a) { return a * ${i + 3}; }`).join('\n')}
PAGE int behind(int a) { return a - 1; }
static void at_end(void) { puts("ended"); }
int main(int count, char **words) {
  char line[512];
  atexit(at_end);
  printf("%d %s %d %s\n", count, words[1], f0(2) + f5(1) + f11(1), getenv("WORD"));
  FILE *maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, maps))
    if (strstr(line, "r-xp") && strstr(line, "/program")) printf("%.17s\n", line);
  return 7;
}
`;

function rewritten(path: string, options: Omit<RewriteOptions, 'cold' | 'hot'>): RewrittenModule {
  const image = readElfFile(path);
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  const hot = analysis.units.filter(({ kept }) => kept === undefined).map(({ start }) => start);
  const made = rewriteModule(image, analysis, { hot, cold: 'file', ...options });
  if (made.kind === 'kept') throw new Error(made.reason);
  const again = rewriteModule(readElf(made.bytes, path), analysis, { hot, cold: 'file', ...options });
  expect(again.kind === 'rewritten' && Buffer.compare(again.bytes, made.bytes)).toBe(0);
  expect(Buffer.compare(restoreModule(made.bytes, path), image.bytes)).toBe(0);
  return made;
}

function run(path: string): { readonly status: number | null; readonly said: readonly string[] } {
  const { status, stdout } = spawnSync(path, ['word'], { encoding: 'utf8', env: { WORD: 'sense' } });
  return { status, said: stdout.trimEnd().split('\n') };
}

it('maps pages apart before a program begins, and changes nothing else', () => {
  const path = join(folder, 'program');
  writeFileSync(`${path}.c`, SOURCE);
  execFileSync('gcc', ['-O1', '-no-pie', '-fno-pie', '-o', path, `${path}.c`]);
  const place = (name: string): number =>
    readElfFile(path).staticSymbols.find((symbol) => symbol.name === name)?.rva ?? 0;
  const apart = [
    { at: rva(place('f1')), size: 4 * 4096 },
    { at: rva(place('f6')), size: 5 * 4096 },
  ];
  const before = run(path);
  expect(before).toMatchObject({ status: 7 });
  expect(before.said).toHaveLength(3);
  const [plain, noted] = [rewritten(path, {}), rewritten(path, { apart })];
  expect(readElf(noted.bytes, path).header.entry).not.toBe(readElf(plain.bytes, path).header.entry);
  const copy = join(folder, 'program.new');
  const told = [plain, noted].map(({ bytes }) => {
    writeFileSync(copy, bytes);
    chmodSync(copy, 0o755);
    return run(copy);
  });
  for (const { status, said } of told)
    expect([status, said[0], said.at(-1)]).toEqual([7, before.said[0], 'ended']);
  const [, second] = told;
  const hex = (at: number): string => at.toString(16).padStart(8, '0');
  for (const { at, size } of apart) expect(second?.said).toContain(`${hex(at)}-${hex(at + size)}`);
  expect(second?.said).toHaveLength((told[0]?.said.length ?? 0) + 4);
});
