import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runtimeFile } from '../../sys/runtime.ts';
import { restoreEnd } from './restore-end.ts';

describe('the end of restore', () => {
  const path = runtimeFile('restore');
  const restore = readFileSync(path);

  it('is one instruction, in its code', () => {
    const at = restoreEnd(restore, path);
    expect(at).toBeGreaterThan(0x1400);
    expect(at).toBeLessThan(restore.length);
    expect(restore.readUInt32LE(at)).toBe(0xf82464ff);
  });

  it('is not told where it is missing, or there twice', () => {
    const at = restoreEnd(restore, path) ?? 0;
    const without = Buffer.from(restore);
    without.fill(0x90, at, at + 4);
    expect(restoreEnd(without, path)).toBeUndefined();
    const twice = Buffer.concat([restore, restore.subarray(at, at + 4)]);
    expect(restoreEnd(twice, path)).toBeUndefined();
  });
});
