import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identifyFile } from '../profile/identity.ts';
import { buildSelect } from './build.ts';
import type { ModuleUse } from './model.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-pool-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const COUNT = 6;
const context = { cold: 'deny', loaders: [], programs: [], modules: [] } as const;
let uses: ModuleUse[] = [];
beforeAll(() => {
  const source = join(folder, 'x.c');
  const library = join(folder, 'lib0.so');
  writeFileSync(source, 'int f(int x) { return x + 1; }\n');
  const done = spawnSync('gcc', ['-shared', '-fPIC', '-nostdlib', '-o', library, source]);
  expect(String(done.stderr)).toBe('');
  for (let i = 1; i < COUNT; i++) copyFileSync(library, join(folder, `lib${i}.so`));
  uses = Array.from({ length: COUNT }, (_, i) => {
    const path = join(folder, `lib${i}.so`);
    return { path, identity: identifyFile(path), entered: [], touched: [] };
  });
});

describe('buildSelect', () => {
  it('writes the modules in the order of first use, and tells how far it is', async () => {
    const into = mkdtempSync(join(folder, 'into-'));
    const steps: string[] = [];
    const onProgress = (done: number, all: number): void => void steps.push(`${done}/${all}`);
    const gone = { ...uses[2], path: join(folder, 'gone.so') };
    const list = uses.map((use, i) => (i === 2 ? { ...use, ...gone } : use));
    const { modules, kept } = await buildSelect(list, context, { folder: into, onProgress });
    const files = [0, 1, 3, 4, 5].map((i) => `0${i}-lib${i}.so`);
    expect(modules.map(({ file }) => file)).toEqual(files);
    expect(readdirSync(into).sort()).toEqual(files.flatMap((file) => [file, `${file}.cold`]));
    expect(kept).toMatchObject([{ path: gone.path, reason: 'not there any more' }]);
    expect(steps).toEqual(['1/6', '2/6', '3/6', '4/6', '5/6', '6/6']);
  });

  it('gives the same figures where nothing is written', async () => {
    const into = mkdtempSync(join(folder, 'into-'));
    const written = await buildSelect(uses, context, { folder: into });
    const told = await buildSelect(uses, context);
    expect(told.modules.map(({ figures }) => figures)).toEqual(written.modules.map(({ figures }) => figures));
    expect(told.modules.every(({ fileInode }) => fileInode === 0n)).toBe(true);
  });

  it('fails where a file cannot be written', async () => {
    await expect(buildSelect(uses, context, { folder: join(folder, 'none') })).rejects.toThrow('ENOENT');
  });
});
