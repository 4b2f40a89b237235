import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { profileOf } from '../../test/launch-scene.ts';
import { PAGE_SIZE, rva } from '../base/brands.ts';
import { readElfFile } from '../elf/read.ts';
import { identifyFile } from '../profile/identity.ts';
import { analyseModule } from '../rewrite/analyse.ts';
import type { Unit } from '../rewrite/model.ts';
import { rewriteModule } from '../rewrite/rewrite.ts';
import { workOn } from './module-work.ts';
import { contextOf } from './plan.ts';
import { unseenUnits } from './rewritten-pages.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-pages-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Each function on a page of its own. */
const SOURCE = `
#define PAGE __attribute__((noinline, aligned(4096)))
PAGE int called(int a) { return a + 1; }
PAGE int both(int a) { return a + 4; }
int (*volatile table[])(int) = { both };
PAGE int main(void) { return called(1) + both(1) + table[0](1); }
PAGE int last(void) { return 0; }
`;

let made = 0;

/** Whether the pages of these functions need not be fetched any more when both are copied. */
function droppedOf(source: string, ...flags: string[]): Record<string, boolean> {
  const path = join(folder, `program${made++}`);
  writeFileSync(`${path}.c`, source);
  execFileSync('gcc', ['-O1', '-fno-toplevel-reorder', ...flags, '-o', path, `${path}.c`]);
  const image = readElfFile(path);
  const at = (name: string) => image.staticSymbols.find((symbol) => symbol.name === name)?.rva ?? rva(0);
  const use = { path, identity: identifyFile(path), entered: [at('called'), at('both')], touched: [] };
  const context = contextOf(profileOf({ program: '/bin/true', argv: ['x'], files: [] }), { cold: 'file' });
  const job = { use, context: { ...context, all: true }, file: `copy${made}`, folder };
  const result = workOn(job, { analyse: analyseModule, rewrite: rewriteModule });
  if (result.kind === 'kept') throw new Error(result.module.reason);
  const { pages } = result.module;
  const headersAt = readElfFile(join(folder, job.file)).header.segmentsAt;
  expect(pages.headers).toBe(Math.floor(headersAt / PAGE_SIZE));
  expect(pages.headers).toBeGreaterThan(0);
  const isDropped = (name: string): boolean => {
    const page = Math.floor((image.offsetOf(at(name)) ?? 0) / PAGE_SIZE);
    return pages.dropped.some((extent) => extent.page <= page && page < extent.page + extent.count);
  };
  return { called: isDropped('called'), both: isDropped('both') };
}

const dropped = (...flags: string[]): Record<string, boolean> => droppedOf(SOURCE, ...flags);

describe('pages that need not be fetched any more', () => {
  it('are those of all copied functions where their addresses lead to the copies', () => {
    expect(dropped('-fPIE', '-pie')).toEqual({ called: true, both: true });
  });

  it('are not those of a function whose old address goes on being called', () => {
    expect(dropped('-no-pie')).toEqual({ called: true, both: false });
  });

  it('are none where much code belongs to no unit, and may call whatever was copied', () => {
    const unknown = (code: string) => `${SOURCE}__asm__(".text\\n.balign 4096\\n${code}\\n.balign 64");\n`;
    const calls = (count: number) => `.rept ${count}\\npush %rbx\\ncall both\\npop %rbx\\nret\\n.endr`;
    expect(droppedOf(unknown(calls(100)), '-fPIE', '-pie')).toEqual({ called: false, both: false });
    expect(droppedOf(unknown(calls(2)), '-fPIE', '-pie')).toEqual({ called: true, both: true });
    expect(droppedOf(unknown('.nops 700'), '-fPIE', '-pie')).toEqual({ called: true, both: true });
  });
});

describe('unseenUnits', () => {
  const unit = (start: number, end: number, kept?: string): Unit => ({
    kind: 'function',
    start: rva(start),
    end: rva(end),
    entries: [rva(start)],
    fallsThrough: false,
    ...(kept === undefined ? {} : { kept }),
  });

  it('are units that stay and have no breakpoint', () => {
    const units = [
      unit(0, 10),
      unit(10, 20, 'a signal trampoline'),
      unit(20, 30, 'computes'),
      unit(30, 40, 'late'),
    ];
    const breakpoints = Uint32Array.of(0, 20);
    expect(unseenUnits({ units, breakpoints }).map(({ start }) => start)).toEqual([10, 30]);
    expect(unseenUnits({ units, breakpoints: Uint32Array.of(9, 19, 39) })).toEqual([units[2]]);
  });
});
