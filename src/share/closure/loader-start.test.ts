import { describe, expect, it } from 'vitest';
import { readElfFile } from '../../elf/read.ts';
import { linkedAt } from './loader-start.ts';

describe('where the loader has finished', () => {
  it('is behind its first call', () => {
    const loader = readElfFile('/lib64/ld-linux-x86-64.so.2');
    const at = linkedAt(loader);
    expect(at).toBe(loader.header.entry + 8);
    const offset = loader.offsetOf(loader.header.entry) ?? 0;
    expect(loader.bytes[offset + 3]).toBe(0xe8);
  });

  it('is not known of programs that begin otherwise', () => {
    expect(linkedAt(readElfFile('/usr/bin/git'))).toBeUndefined();
  });
});
