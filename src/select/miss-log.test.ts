import { describe, expect, it } from 'vitest';
import { joinMisses, readMissLog } from './miss-log.ts';

const modules = [{ path: '/lib/a.so', file: '/images/a.so', inode: 1n }];

describe('readMissLog', () => {
  it('counts places of known modules, and leaves out other and cut-off lines', () => {
    const text = [
      '/lib/a.so\t0x4000\tcold1\t/bin/main+0x12e1 (main+0x3)',
      '/lib/b.so\t0x4000\t\t/bin/main+0x12e1',
      '/lib/a.so\t0x3010\t\t',
      '/lib/a.so\t0x4000\tcold1\t/bin/main+0x99',
      '/lib/a.so\tnowhere\t\t',
      '/lib/a.so\t0x50',
    ].join('\n');
    expect(readMissLog(text, modules)).toEqual([
      { module: '/lib/a.so', at: 0x4000, times: 2 },
      { module: '/lib/a.so', at: 0x3010, times: 1 },
    ]);
    expect(readMissLog('', modules)).toEqual([]);
  });
});

describe('joinMisses', () => {
  it('has each place once', () => {
    const [a, b] = readMissLog('/lib/a.so\t0x1\t\t\n/lib/a.so\t0x2\t\t\n', modules);
    if (a === undefined || b === undefined) throw new Error('no misses');
    expect(joinMisses([a], [b, a])).toEqual([{ ...a, times: 2 }, b]);
  });
});
