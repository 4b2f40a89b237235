/** Pages that linking made are the same memory in every process that starts from the image. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BuiltImage } from './support/restore-scene.ts';
import { FeaturesScene } from './support/share-features-scene.ts';

const isRoot = process.geteuid?.() === 0;
const PAGE = 4096;
const POINTERS = 120_000;
const scene = new FeaturesScene();
const running: ChildProcess[] = [];
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  scene.remove();
});

interface Waiting {
  readonly pid: number;
  /** Address of the pointers. */
  readonly at: number;
}

/** The program, once it has read all its pointers. */
function waiting(path: string): Promise<Waiting> {
  const child = spawn(path, { stdio: ['pipe', 'pipe', 'ignore'] });
  running.push(child);
  return new Promise((resolve, reject) => {
    child.on('exit', (code, signal) => reject(new Error(`it ended with ${code ?? signal}`)));
    child.stdout.once('data', (data: Buffer) => {
      const [, at = '', good] = /^(\w+) (\d+)$/m.exec(String(data)) ?? [];
      expect(good).toBe(String(POINTERS));
      resolve({ pid: child.pid ?? 0, at: Number.parseInt(at, 16) });
    });
  });
}

/** KiB of the mapping that holds the pointers, by smaps' names. */
function memoryOf({ pid, at }: Waiting): (name: string) => number {
  const mappings = readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  const found = mappings.find((text) => {
    const [from = 0, to = 0] = text
      .split(' ', 1)
      .join('')
      .split('-')
      .map((word) => Number.parseInt(word, 16));
    return from <= at && at + POINTERS * 8 <= to;
  });
  return (name) => Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(found ?? '')?.[1]);
}

/** Page frames of the pointers' whole pages; needs root. */
function framesOf({ pid, at }: Waiting): string[] {
  const first = Math.ceil(at / PAGE);
  const count = Math.floor((at + POINTERS * 8) / PAGE) - first;
  const bytes = Buffer.alloc(count * 8);
  const fd = openSync(`/proc/${pid}/pagemap`, 'r');
  try {
    expect(readSync(fd, bytes, 0, bytes.length, first * 8)).toBe(bytes.length);
  } finally {
    closeSync(fd);
  }
  return Array.from({ length: count }, (_, index) => {
    const entry = bytes.readBigUInt64LE(index * 8);
    expect(entry >> 63n).toBe(1n);
    return String(entry & ((1n << 55n) - 1n));
  });
}

describe('relocated pages', () => {
  let image: BuiltImage;
  let plain: readonly [Waiting, Waiting];
  let ours: readonly [Waiting, Waiting];
  beforeAll(async () => {
    image = await scene.build(scene.makeProgram('pointers', 'pointers.c'));
    plain = [await waiting(image.program), await waiting(image.program)];
    ours = [await waiting(image.copy), await waiting(image.copy)];
  });

  it('are a process’s own after a plain start, and nobody’s own after one from an image', () => {
    const size = Math.floor((POINTERS * 8) / 1024);
    for (const one of plain) expect(memoryOf(one)('Anonymous')).toBeGreaterThan(size - 8);
    for (const one of ours) {
      const memory = memoryOf(one);
      expect(memory('Rss')).toBeGreaterThan(size - 8);
      expect(memory('Anonymous')).toBeLessThan(64);
    }
  });

  it.runIf(isRoot)('are the same page frames in two processes from an image', () => {
    const [one, other] = ours.map(framesOf);
    expect(one?.length).toBeGreaterThan(200);
    expect(other).toEqual(one);
    const [first, second] = plain.map(framesOf);
    expect(first?.filter((frame) => second?.includes(frame))).toEqual([]);
  });
});
