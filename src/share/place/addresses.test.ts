import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { random, stateOf } from '../../../test/support/linked-states.ts';
import { PAGE_SIZE } from '../../base/brands.ts';
import { ARENA_RANGE, chooseBases, PROGRAM_RANGE } from './addresses.ts';

describe('addresses', () => {
  const size = fc.integer({ min: 1, max: 2 ** 20 }).map((pages) => pages * PAGE_SIZE);
  const extent = fc.record({
    first: fc.constant(0),
    size,
    align: fc.constantFrom(PAGE_SIZE, 2 ** 16, 2 ** 21, 2 ** 22),
    fixedAt: fc.constant(undefined),
  });
  const machine = stateOf({ program: [], arena: [], loader: [] }, []).machine;

  it('are aligned, ascend from the program to the vDSO, and keep away from where the kernel puts things', () => {
    fc.assert(
      fc.property(extent, extent, extent, random, (program, arena, loader, dice) => {
        const bases = chooseBases({ extents: { program, arena, loader }, machine }, dice);
        for (const [base, { align }] of [
          [bases.program, program],
          [bases.arena, arena],
          [bases.loader, loader],
        ] as const)
          expect(base % Math.max(align, 2 ** 21)).toBe(0);
        expect(bases.program).toBeGreaterThanOrEqual(PROGRAM_RANGE.from);
        expect(bases.program + program.size).toBeLessThanOrEqual(PROGRAM_RANGE.to);
        expect(bases.arena).toBeGreaterThanOrEqual(ARENA_RANGE.from);
        expect(bases.loader).toBeGreaterThanOrEqual(bases.arena + arena.size);
        expect(bases.vdso - 4 * PAGE_SIZE).toBeGreaterThan(bases.loader + loader.size);
        expect(bases.vdso % PAGE_SIZE).toBe(0);
        expect(bases.vdso).toBeLessThan(0x5400_0000_0000);
      }),
    );
  });

  it('lie below the mappings of processes with unlimited stacks', () => {
    const unlimited = { ...machine, stackLimit: 2n ** 64n - 1n };
    fc.assert(
      fc.property(extent, extent, extent, random, (program, arena, loader, dice) => {
        const bases = chooseBases({ extents: { program, arena, loader }, machine: unlimited }, dice);
        expect(bases.program).toBeGreaterThan(0x1000_8000_0000);
        expect(bases.arena).toBeGreaterThanOrEqual(bases.program + program.size);
        expect(bases.loader + loader.size).toBeLessThan(0x1440_0000_0000);
      }),
    );
  });

  it('leave a program of fixed addresses where it is, and differ from one time to the next', () => {
    const extents = stateOf({ program: [], arena: [], loader: [] }, []).extents;
    const fixed = { ...extents, program: { first: 0x400000, size: 0x5000, align: PAGE_SIZE, fixedAt: 0 } };
    expect(chooseBases({ extents: fixed, machine }).program).toBe(0);
    const arenas = new Set(Array.from({ length: 20 }, () => chooseBases({ extents, machine }).arena));
    expect(arenas.size).toBeGreaterThan(18);
  });
});
