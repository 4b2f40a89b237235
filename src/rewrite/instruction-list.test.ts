import fc from 'fast-check';
import { expect, it } from 'vitest';
import { InstructionList } from './instruction-list.ts';

it('InstructionList keeps lengths with addresses, sorts, and knows whose byte one is', () => {
  const length = fc.integer({ min: 1, max: 15 });
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 0, max: 0xffff_ffff })),
      fc.infiniteStream(length),
      (ats, lengths) => {
        const given = ats.map((at): [number, number] => [at, lengths.next().value ?? 1]);
        const list = new InstructionList();
        list.push(7, 7);
        list.cut(0);
        for (const [at, bytes] of given) list.push(at, bytes);
        list.sort();
        const sorted = given.toSorted((a, b) => a[0] - b[0]);
        expect(sorted.map((_, i) => [list.at(i), list.lengthAt(i)])).toEqual(sorted);
        expect(list.length).toBe(sorted.length);
        sorted.forEach(([at, bytes], i) => {
          expect(list.holds(at)).toBe(true);
          const [next] = sorted[i + 1] ?? [Number.POSITIVE_INFINITY];
          if (at + bytes < next) expect(list.holds(at + bytes)).toBe(false);
          expect(list.holds(Math.min(at + bytes, next) - 1)).toBe(true);
        });
        expect(list.holds(-1)).toBe(false);
      },
    ),
  );
});
