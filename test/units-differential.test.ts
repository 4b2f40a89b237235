/**
 * The analysis of code, objdump, and the files' own tables, on libraries of different kinds: C, hand-written
 * assembly, C++, the dynamic loader, a static program at fixed addresses. `bench/units-differential.ts` takes
 * all. objdump takes most of the time: half a minute where the machine is busy.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { compareUnits } from '../bench/support/units-compare.ts';
import { Workshop } from './support/asm.ts';

const FOLDER = '/usr/lib/x86_64-linux-gnu';
const workshop = new Workshop();
afterAll(() => workshop.remove());

/** @param others Bytes that no unit holds and that are no padding, at most. */
function compare(path: string, others: number): void {
  const { differences, compared, bytes, stay, kept } = compareUnits(path);
  expect({ differences, kept }).toEqual({ differences: [], kept: undefined });
  expect(bytes.others).toBeLessThanOrEqual(others);
  // The judge's own figures: an empty listing must not pass for agreement.
  expect(compared.units).toBeGreaterThan(100);
  expect(compared.references).toBeGreaterThan(compared.units);
  expect(compared.symbols).toBeGreaterThan(20);
  const staying = Object.values(stay).reduce((sum, count) => sum + count, 0);
  expect(staying).toBeLessThan(compared.units / 5);
}

describe('the analysis agrees with objdump and with FDEs and symbols', () => {
  it.each([
    ['libz.so.1', 0],
    ['libc.so.6', 0],
    ['ld-linux-x86-64.so.2', 0],
    ['libstdc++.so.6', 0],
    // Constants stand between the functions of its assembly.
    ['libgmp.so.10', 5_000],
  ])('on %s', { timeout: 120_000 }, (name, others) => compare(`${FOLDER}/${name}`, others));

  it('on a static program at fixed addresses', { timeout: 120_000 }, () => {
    const source = '#include <stdio.h>\nint main(void) { return puts("static") < 0; }\n';
    // The C library's assembly keeps some constants beside its code.
    compare(workshop.build(source, 'c', ['-static', '-no-pie', '-O2']), 1_000);
  });
});
