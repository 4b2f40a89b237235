import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '../base/brands.ts';
import type { ElfImage } from '../elf/image.ts';
import { readElf, readElfFile } from '../elf/read.ts';
import { analyseModule } from '../rewrite/analyse.ts';
import { codeRanges, cutHidden, hiddenCode, unwindRanges } from './hidden-pages.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-hidden-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SOURCE = `
  .macro kernel name
    .balign 4096
    .globl \\name
    .type \\name, @function
  \\name:
    .rept 1000
    addps %xmm1, %xmm0
    .endr
    ret
  .endm
  .text
known:
  .cfi_startproc
  ret
  .cfi_endproc
  kernel first
  kernel second
  .balign 4096
  .globl message
message: .asciz "read as a message"
  kernel third
  .balign 4096
  .globl table
  .type table, @object
  .size table, 16
table: .quad 0x1122334455667788, 0x9988776655443322
  kernel fourth
  .balign 4096
constants: .quad 0x3ff0000000000000, 0x4000000000000000
  kernel fifth
`;

function built(name: string, source: string, ...flags: readonly string[]): ElfImage {
  const path = join(folder, `${name}.so`);
  const file = join(folder, name);
  writeFileSync(file, source);
  const language = source === SOURCE ? 'assembler' : 'c';
  const words = ['-shared', '-fPIC', '-nostdlib', ...flags, '-x', language, file, '-o', path];
  const done = spawnSync('gcc', words, { encoding: 'utf8' });
  expect(done.status, done.stderr).toBe(0);
  return readElfFile(path);
}

function unitsOf(image: ElfImage) {
  const analysis = analyseModule(image);
  if ('kind' in analysis) throw new Error(analysis.reason);
  return analysis.units;
}

describe('hiddenCode', () => {
  const image = built('kernels', SOURCE);
  const hidden = hiddenCode(image, unitsOf(image));
  const isHidden = (name: string): boolean => {
    const at = [...image.staticSymbols].find((one) => one.name === name)?.rva ?? -1;
    return hidden.some(({ start, end }) => start <= at && at < end);
  };

  it('hides code without unwind information, and constants without a symbol for others', () => {
    for (const name of ['first', 'second', 'third', 'fourth', 'fifth', 'constants'])
      expect([name, isHidden(name)]).toEqual([name, true]);
  });

  it('leaves text, and what a symbol calls data, where a system call can read it', () => {
    expect([isHidden('message'), isHidden('table')]).toEqual([false, false]);
  });

  it('leaves pages with headers and constants where they lie in the segment of code', () => {
    const joined = built(
      'joined',
      'const char text[5000] = "constants"; int f(int x) { return x * 3; }',
      '-Wl,-z,noseparate-code',
    );
    const [range] = codeRanges(joined);
    const runs = hiddenCode(joined, unitsOf(joined));
    expect(range?.start).toBe(0);
    const rodata = joined.sections.find(({ name }) => name === '.rodata');
    for (const { start, end } of runs) {
      expect(start).toBeGreaterThan(0);
      expect(start >= (rodata?.rva ?? 0) + (rodata?.size ?? 0) || end <= (rodata?.rva ?? 0)).toBe(true);
    }
  });

  it('hides nothing where there are no sections to tell code from data', () => {
    const bytes = Buffer.from(image.bytes);
    // e_shoff, e_shnum, e_shstrndx
    for (const [from, to] of [
      [40, 48],
      [60, 64],
    ])
      bytes.fill(0, from, to);
    const bare = readElf(bytes, 'bare.so');
    expect(bare.sections).toEqual([]);
    expect(hiddenCode(bare, [])).toEqual([]);
  });

  it('cuts its own bytes alone', () => {
    const bytes = Uint8Array.from(image.bytes);
    const cut = cutHidden(image, hidden, bytes);
    const segment = image.segments.find(
      ({ rva, memSize }) =>
        hidden[0] !== undefined && rva <= hidden[0].start && hidden[0].start < rva + memSize,
    );
    if (segment === undefined) throw new Error('nothing is hidden');
    const different = bytes.reduce((count, byte, at) => (byte === image.bytes[at] ? count : count + 1), 0);
    expect(different).toBeLessThanOrEqual(cut);
    expect(Buffer.compare(bytes.subarray(0, segment.offset), image.bytes.subarray(0, segment.offset))).toBe(
      0,
    );
    const end = segment.offset + segment.fileSize;
    expect(Buffer.compare(bytes.subarray(end), image.bytes.subarray(end))).toBe(0);
  });
});

describe('unwindRanges', () => {
  it('are whole pages of the tables, and nothing beside', () => {
    const functions = Array.from(
      { length: 800 },
      (_, i) => `int f${i}(int (*g)(void)) { return g() + ${i}; }`,
    );
    const image = built('functions', functions.join('\n'), '-O1');
    const ranges = unwindRanges(image, codeRanges(image));
    expect(ranges.length).toBeGreaterThan(0);
    const tables = image.sections.filter(({ name }) => name.startsWith('.eh_frame'));
    const from = Math.min(...tables.map(({ rva }) => rva));
    const to = Math.max(...tables.map(({ rva, size }) => rva + size));
    for (const { start, end, isCode } of ranges) {
      expect([start % PAGE_SIZE, end % PAGE_SIZE, isCode]).toEqual([0, 0, false]);
      expect(start >= from && end <= to).toBe(true);
    }
  });
});
