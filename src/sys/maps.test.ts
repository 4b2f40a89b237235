import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { pid, userAddress } from '../base/brands.ts';
import { parseMaps, readMaps } from './maps.ts';

describe('parseMaps', () => {
  it('reads what the kernel prints', () => {
    const [file, gone, heap, shared] = parseMaps(
      [
        '55d0c8a00000-55d0c8a02000 r-xp 00003000 fe:00 1234                       /usr/bin/with space',
        '7f0000000000-7f0000001000 rw-p 00000000 fe:00 99                         /tmp/a\\012b (deleted)',
        '55d0c9000000-55d0c9021000 rw-p 00000000 00:00 0                          [heap]',
        '7f0000002000-7f0000003000 ---s 00000000 00:01 7 ',
        'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]',
        'no line of maps',
        '',
      ].join('\n'),
    );
    expect(file).toMatchObject({
      start: 0x55d0c8a00000,
      end: 0x55d0c8a02000,
      offset: 0x3000,
      device: 'fe:00',
      inode: 1234n,
      path: '/usr/bin/with space',
      readable: true,
      writable: false,
      executable: true,
      shared: false,
      deleted: false,
    });
    expect(gone).toMatchObject({ path: '/tmp/a\nb', deleted: true, writable: true });
    expect(heap).toMatchObject({ path: '[heap]', inode: 0n });
    expect(shared).toMatchObject({ path: '', shared: true, readable: false });
  });

  it('leaves out the kernel’s half', () => {
    expect(parseMaps('ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]')).toEqual([]);
  });

  it('reads only what shares addresses with a range', () => {
    const text = readFileSync('/proc/self/maps', 'utf8');
    const all = parseMaps(text);
    const [low, high] = [all[2], all[5]];
    if (low === undefined || high === undefined) throw new Error('few mappings');
    expect(parseMaps(text, { start: low.start, end: high.end })).toEqual(all.slice(2, 6));
    const inside = { start: userAddress(low.end - 1), end: userAddress(high.start + 1) };
    expect(parseMaps(text, inside)).toEqual(all.slice(2, 6));
    expect(parseMaps(text, { start: low.end, end: high.start })).toEqual(all.slice(3, 5));
    expect(parseMaps(text, { start: userAddress(0), end: userAddress(4096) })).toEqual([]);
  });

  it('ascends, for this process', () => {
    const mappings = readMaps(pid(process.pid));
    expect(mappings.length).toBeGreaterThan(10);
    mappings.forEach(({ start }, i) => {
      expect(start).toBeGreaterThanOrEqual(mappings[i - 1]?.end ?? 0);
    });
  });
});
