import { describe, expect, it } from 'vitest';
import { expectGolden } from '../../test/golden.ts';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { toJson } from '../cli/options.ts';
import { readElf } from '../elf/read.ts';
import { inspect } from './inspect.ts';
import { renderInspection } from './inspect-text.ts';

const image = readElf(tinyElf().bytes, 'libtiny.so');

describe('inspect', () => {
  it('shows the file', () => {
    expectGolden('inspect/tiny.txt', renderInspection(inspect(image, {})));
  });

  it('lists symbols and relocations where asked', () => {
    expectGolden(
      'inspect/tiny-all.txt',
      renderInspection(inspect(image, { symbols: true, relocations: true })),
    );
  });

  it('says the same in JSON', () => {
    const inspection = inspect(image, { symbols: true, relocations: true });
    expectGolden('inspect/tiny.json', toJson('inspect', 1, inspection));
  });

  it('says that there are no sections', () => {
    const stripped = readElf(tinyElf(['sections']).bytes, 'stripped.so');
    expect(renderInspection(inspect(stripped, {}))).toContain('No sections (stripped)');
  });

  it('counts as many relocations as it lists', () => {
    const { relocations = [], relocationCounts } = inspect(image, { relocations: true });
    expect(relocationCounts.reduce((sum, { count }) => sum + count, 0)).toBe(relocations.length);
  });
});
