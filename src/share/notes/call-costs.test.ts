import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CALL_WAYS } from './call-costs.ts';

describe('the costs of calls', () => {
  it('are those that were measured last', () => {
    const path = join(import.meta.dirname, '..', '..', '..', 'bench', 'results', 'call-cost.json');
    const { ways } = JSON.parse(readFileSync(path, 'utf8'));
    const measured = ways.map((way: { name: string; ns: { median: number } }) => [way.name, way.ns.median]);
    expect(CALL_WAYS.map(({ name }) => name)).toEqual(measured.map(([name]: [string]) => name));
    // Two runs of the bench differ by a few percent.
    for (const [index, { ns }] of CALL_WAYS.entries()) {
      expect(Math.abs(Math.log(ns / measured[index]?.[1]))).toBeLessThan(0.1);
    }
  });
});
