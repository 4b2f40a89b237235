import { describe, expect, it } from 'vitest';
import { countPages } from './resident.ts';

const mapping = (range: string, protection: string, inode: number, name: string, kib: number): string =>
  `${range} ${protection} 00000000 08:01 ${inode}   ${name}\nSize:  ${kib} kB\nRss:   ${kib} kB\nPss:   ${kib} kB\n`;

describe('countPages', () => {
  it('tells stored code that was brought from other memory without a file', () => {
    const smaps = [
      mapping('7f0000000000-7f0000010000', 'r-xp', 0, '', 64),
      mapping('7f0000010000-7f0000020000', 'r-xp', 77, '/usr/lib/libfoo.so', 8),
      mapping('7f0000020000-7f0000030000', 'rw-p', 0, '[heap]', 16),
      mapping('7f0000030000-7f0000040000', 'r--p', 0, '', 12),
      mapping('7ffd00000000-7ffd00002000', 'r-xp', 0, '[vdso]', 4),
    ].join('');
    expect(countPages(smaps)).toMatchObject({ executable: 2, anonymous: 24, brought: 16 });
  });
});
