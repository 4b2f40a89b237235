import { describe, expect, it } from 'vitest';
import { hashAddresses } from './module-addresses.ts';
import { nameHash } from './name-hash.ts';

describe('names as places', () => {
  it('are spread evenly, and the same everywhere', () => {
    expect([nameHash('libz.so.1', 16), nameHash('libz.so.1', 19), nameHash('libz.so.1', 32)]).toEqual([
      0x1626, 0xb131, 0x16263672,
    ]);
    const counts = new Array<number>(16).fill(0);
    for (let i = 0; i < 16_000; i++) {
      const place = nameHash(`lib${i}.so`, 4);
      counts[place] = (counts[place] ?? 0) + 1;
    }
    expect(Math.min(...counts)).toBeGreaterThan(850);
    expect(Math.max(...counts)).toBeLessThan(1150);
  });

  it('collide where two hash to one place, or one reaches into the next', () => {
    const small = (name: string) => ({ name, span: 4096 });
    const all = Array.from({ length: 40 }, (_, i) => small(`lib${i}.so`));
    const hashed = hashAddresses(all, 6);
    const places = new Set(all.map(({ name }) => nameHash(name, 6)));
    expect(hashed.collisions.length).toBe(40 - places.size);
    for (const [one, other] of hashed.collisions) expect(nameHash(one, 6)).toBe(nameHash(other, 6));

    const first = small('lib0.so');
    const behind = all.find(({ name }) => nameHash(name, 6) === (nameHash('lib0.so', 6) + 1) % 64);
    expect(behind).toBeDefined();
    if (behind === undefined) return;
    expect(hashAddresses([first, behind], 6).collisions).toEqual([]);
    const large = { name: 'lib0.so', span: 2 ** 41 + 1 };
    expect(hashAddresses([large, behind], 6).collisions).toEqual([[behind.name, 'lib0.so']]);
  });
});
