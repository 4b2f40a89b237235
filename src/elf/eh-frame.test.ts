import { describe, expect, it } from 'vitest';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { readEhFrame } from './eh-frame.ts';
import { readElf, readElfFile } from './read.ts';

describe('readEhFrame', () => {
  it('reads none where there is none', () => {
    expect(readEhFrame(readElf(tinyElf().bytes, 'tiny.so'))).toMatchObject({ at: undefined, fdes: [] });
  });

  it('agrees with the table of the header on a large program', () => {
    const frame = readEhFrame(readElfFile(process.execPath));
    expect(frame.headerProblem).toBeUndefined();
    expect(frame.fdes.length).toBe(frame.header?.table?.starts.length);
    expect(frame.fdes.length).toBeGreaterThan(1000);
  });
});
