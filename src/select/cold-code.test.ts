import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { readElfFile } from '../elf/read.ts';
import { analyseModule } from '../rewrite/analyse.ts';
import { bytesOnDisk, coldOf, distancesToTargets, separateCold } from './cold-code.ts';
import { COLD_CHUNK, COLD_REACH } from './cold-layout.ts';
import { checkColdSupport } from './cold-support.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-cold-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** As `restore_targets` of runtime/demand-load.c. */
function restoreTargets(code: Uint8Array, at: number): void {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  for (let i = 0; i + 7 <= code.length; ) {
    const [first = 0, second = 0, third = 0] = code.subarray(i, i + 3);
    const isNear = first === 0x0f && (second & 0xf0) === 0x80;
    const isOperand = (first & 0xf0) === 0x40 && second !== 0xe8 && second !== 0xe9 && (third & 0xc7) === 5;
    const opcode = first === 0xe8 || first === 0xe9 ? 1 : isNear ? 2 : isOperand ? 3 : 0;
    i += opcode === 0 ? 1 : opcode + 4;
    if (opcode === 0) continue;
    const end = at + i;
    const value = view.getInt32(i - 4, true);
    if (end >= COLD_REACH || value < -end || value >= COLD_REACH) continue;
    view.setInt32(i - 4, value >= 0 ? value - end : value + COLD_REACH, true);
  }
}

/** Bytes that look like calls and operands, one in the other. */
const byte = fc.oneof(
  fc.constantFrom(0xe8, 0xe9, 0x0f, 0x84, 0x47, 0x8b, 0x05, 0x0d, 0x1d, 0xff, 0x00),
  fc.integer({ min: 0, max: 255 }),
);

describe('distancesToTargets', () => {
  it('can be taken back, whatever the bytes are', () => {
    fc.assert(
      fc.property(
        fc.array(byte, { maxLength: 200 }),
        fc.oneof(fc.nat(1 << 20), fc.integer({ min: COLD_REACH - 300, max: COLD_REACH + 10 })),
        (bytes, at) => {
          const code = Uint8Array.from(bytes);
          distancesToTargets(code, at);
          restoreTargets(code, at);
          expect([...code]).toEqual(bytes);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('can be taken back in the code of a large library', () => {
    const { bytes } = readElfFile('/lib/x86_64-linux-gnu/libc.so.6');
    for (let at = 0; at < bytes.length; at += COLD_CHUNK) {
      const code = Uint8Array.from(bytes.subarray(at, at + COLD_CHUNK));
      distancesToTargets(code, at);
      restoreTargets(code, at);
      expect(Buffer.compare(code, bytes.subarray(at, at + COLD_CHUNK))).toBe(0);
    }
  });

  it('lets two calls of one function look alike', () => {
    const call = (at: number): number[] => {
      const code = Uint8Array.from([0xe8, 0, 0, 0, 0, 0x90, 0x90]);
      new DataView(code.buffer).setInt32(1, 0x5000 - (at + 5), true);
      distancesToTargets(code, at);
      return [...code];
    };
    expect(call(0x1000)).toEqual(call(0x9000));
    expect(call(0x1000)).toEqual([0xe8, 0x00, 0x50, 0, 0, 0x90, 0x90]);
  });
});

describe('separateCold', () => {
  const source = `
    int used(int x) { return x + 1; }
    static const int table[4] __attribute__((section(".text#"))) = {11, 22, 33, 44};
    int second(int i) { return table[i & 3]; }`;

  it('takes functions and the space between them, and leaves data in text', () => {
    const path = join(folder, 'libcut.so');
    writeFileSync(join(folder, 'cut.c'), source);
    const done = spawnSync('gcc', [
      '-O1',
      '-shared',
      '-fPIC',
      '-nostdlib',
      '-o',
      path,
      join(folder, 'cut.c'),
    ]);
    expect(done.stderr.toString()).not.toContain('error');
    const image = readElfFile(path);
    const analysis = analyseModule(image);
    if ('kind' in analysis) throw new Error(analysis.reason);
    const bytes = Uint8Array.from(image.bytes);
    const { cutBytes } = separateCold({ image, analysis, bytes, cold: 'store', onMiss: 'abort' });
    expect(cutBytes).toBeGreaterThan(0);
    const at = (name: string): number => {
      const symbol = [...image.staticSymbols].find((one) => one.name === name);
      return symbol?.rva === undefined ? -1 : (image.offsetOf(symbol.rva) ?? -1);
    };
    expect([...bytes.subarray(at('used'), at('used') + 3)]).toEqual([0, 0, 0]);
    expect(Buffer.from(bytes.subarray(at('table'), at('table') + 16)).readInt32LE(12)).toBe(44);
    expect(bytesOnDisk(bytes)).toBeLessThanOrEqual(Math.ceil(bytes.length / 4096) * 4096);
  });
});

describe('what can be stored', () => {
  const libc = readElfFile('/lib/x86_64-linux-gnu/libc.so.6');

  it('is never the C library, which can be denied', () => {
    expect(coldOf(libc, { cold: 'store' })).toBe('file');
    expect(coldOf(libc, { cold: 'deny', onMiss: 'log' })).toBe('file');
    expect(coldOf(libc, { cold: 'deny' })).toBe('deny');
  });

  it('is no code with restartable sequences, which the kernel reads', () => {
    const path = join(folder, 'librseq.so');
    const source = '.text\n.globl f\nf: ret\n.section __rseq_cs,"aw"\n.quad 0\n';
    writeFileSync(join(folder, 'rseq.s'), source);
    const words = ['-shared', '-nostdlib', '-o', path, join(folder, 'rseq.s')];
    expect(spawnSync('gcc', words).status).toBe(0);
    expect(coldOf(readElfFile(path), { cold: 'store' })).toBe('file');
    expect(coldOf(readElfFile(path), { cold: 'deny' })).toBe('deny');
  });

  const use = (path: string) => ({
    path,
    identity: { size: 1, mtimeNs: 0n, inode: 0n },
    entered: [],
    touched: [],
  });

  it('is let through only where a loader of glibc brings who does it', () => {
    const source = join(folder, 'start.s');
    writeFileSync(source, '.globl _start\n_start: ret\n');
    const made = (name: string, ...words: readonly string[]): string => {
      const path = join(folder, name);
      expect(spawnSync('gcc', ['-nostdlib', '-o', path, source, ...words]).status).toBe(0);
      return path;
    };
    const glibc = made('glibc', '-pie');
    const others = [
      made('static', '-static'),
      made('musl', '-pie', '-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1'),
    ];
    const context = { cold: 'deny', onMiss: 'log', loaders: [], programs: [glibc, ...others] } as const;
    expect(() => checkColdSupport([use(glibc)], context)).not.toThrow();
    for (const path of others) {
      const uses = [use(glibc), use(path)];
      expect(() => checkColdSupport(uses, context)).toThrow('its loader opens no audit object');
      // A loader that was executed by its name has no loader.
      expect(() => checkColdSupport(uses, { ...context, loaders: [path] })).not.toThrow();
      expect(() => checkColdSupport(uses, { ...context, onMiss: 'abort' })).not.toThrow();
    }
  });

  it('is refused where SIGSEGV cannot be had', () => {
    const program = join(folder, 'go');
    writeFileSync(join(folder, 'go.s'), '.globl _start\n_start: ret\n.section .go.buildinfo,"a"\n.byte 1\n');
    expect(spawnSync('gcc', ['-nostdlib', '-o', program, join(folder, 'go.s')]).status).toBe(0);
    const context = { cold: 'store', loaders: [], programs: [program] } as const;
    expect(() => checkColdSupport([use(program)], context)).toThrow('Go');
    expect(() => checkColdSupport([use('/lib/x86_64-linux-gnu/libc.so.6')], context)).not.toThrow();
    expect(() => checkColdSupport([use(program)], { ...context, cold: 'deny' })).not.toThrow();
  });
});
