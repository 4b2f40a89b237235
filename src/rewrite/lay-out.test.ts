import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { rva } from '../base/brands.ts';
import { readElf } from '../elf/read.ts';
import { findRoom, placeClones } from './lay-out.ts';
import type { Unit } from './model.ts';

/** Units that do not overlap, in any order. */
const someUnits = fc
  .array(
    fc.record({
      gap: fc.nat(40),
      size: fc.integer({ min: 1, max: 300 }),
      kind: fc.constantFrom('function', 'plt'),
      fallsThrough: fc.boolean(),
      key: fc.nat(),
    }),
    { minLength: 1, maxLength: 40 },
  )
  .map((rows) => {
    let next = 0x1000;
    const units = rows.map(({ gap, size, kind, fallsThrough, key }) => {
      const start = next + gap;
      next = start + size;
      const unit: Unit = { kind, start: rva(start), end: rva(next), entries: [rva(start)], fallsThrough };
      return { unit, key };
    });
    return units.toSorted((a, b) => a.key - b.key).map(({ unit }) => unit);
  });

/** As if some had loops that are aligned. */
const phasesOf = (units: readonly Unit[]): ReadonlyMap<Unit, number> =>
  new Map(units.map((unit) => [unit, [16, 32, 64][unit.start % 3] ?? 16]));

describe('placeClones', () => {
  it('packs copies in order, none over another, each at its address modulo its phase', () => {
    fc.assert(
      fc.property(someUnits, (units) => {
        const { clones, end } = placeClones(units, rva(0x10000), 'copy', phasesOf(units));
        expect(new Set(clones.map(({ unit }) => unit))).toEqual(new Set(units));
        const others = (list: readonly Unit[]) => list.filter(({ kind }) => kind !== 'plt');
        expect(others(clones.map(({ unit }) => unit))).toEqual(others(units));
        let next = 0x10000;
        for (const { unit, at, size } of clones) {
          expect(at).toBeGreaterThanOrEqual(next);
          const isStub = unit.kind === 'plt' && unit.end - unit.start <= 8;
          const phase = isStub ? 8 : (phasesOf([unit]).get(unit) ?? 0);
          expect(at - next).toBeLessThan(phase);
          expect((at - unit.start) % phase).toBe(0);
          expect(size).toBe(unit.end - unit.start + (unit.fallsThrough ? 5 : 0));
          next = at + size;
        }
        expect(end).toBe(next);
      }),
    );
  });

  it('maps every byte of a copied unit to the same place in its copy, and no other address', () => {
    fc.assert(
      fc.property(someUnits, fc.nat(16_000), (units, offset) => {
        const map = placeClones(units, rva(0x10000), 'copy', new Map());
        const at = rva(0x1000 + offset);
        const clone = map.clones.find(({ unit }) => at >= unit.start && at < unit.end);
        expect(map.copyOf(at)).toBe(clone === undefined ? undefined : clone.at + (at - clone.unit.start));
        expect(map.find(at)).toBe(map.copyOf(at) ?? -1);
      }),
    );
  });

  it('keeps PLT stubs together, where the first of them was asked for', () => {
    const unit = (start: number, kind: Unit['kind']): Unit => ({
      kind,
      start: rva(start),
      end: rva(start + 16),
      entries: [rva(start)],
      fallsThrough: false,
    });
    const units = [
      unit(0x1000, 'function'),
      unit(0x2010, 'plt'),
      unit(0x1100, 'function'),
      unit(0x2000, 'plt'),
    ];
    const { clones } = placeClones(units, rva(0x10000), 'copy', new Map());
    expect(clones.map(({ unit, at }) => [unit.start, at])).toEqual([
      [0x1000, 0x10000],
      [0x2010, 0x10010],
      [0x2000, 0x10020],
      [0x1100, 0x10030],
    ]);
  });

  it('gives addresses of ET_EXEC to nobody', () => {
    const [unit] = [
      { kind: 'function', start: rva(0x1000), end: rva(0x1010), entries: [], fallsThrough: false } as const,
    ];
    const map = placeClones([unit], rva(0x10000), 'original', new Map());
    expect([map.find(0x1004), map.findAddress(0x1004)]).toEqual([0x10004, -1]);
  });
});

describe('findRoom', () => {
  it('is behind everything, at the distance that the first segment has', () => {
    const { bytes, segment } = tinyElf();
    const image = readElf(bytes, 'tiny.so');
    const end = Math.max(...image.segments.map(({ rva: at, memSize }) => at + memSize));
    const page = Math.ceil(end / 4096) * 4096;
    expect(findRoom(image)).toEqual({ at: page, offset: page });

    // A .bss of 8 MiB is not worth a file that is as large.
    const large = Uint8Array.from(bytes);
    const view = new DataView(large.buffer);
    view.setBigUint64(segment.data + 40, BigInt(8 << 20), true);
    const room = findRoom(readElf(large, 'large.so'));
    expect(room.at).toBeGreaterThan(8 << 20);
    expect(room.offset).toBe(Math.ceil(bytes.length / 4096) * 4096);
  });
});
