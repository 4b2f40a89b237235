/** Starts that were plain although their program has an image, as `winnow image show --json` tells them. */
import { expect, it } from 'vitest';
import { readStarts } from './share-json.ts';

const NONE = { starts: 0, isFull: false, causes: [] };
const noted = (starts: number, cause: { cause: string; path?: string }) => ({
  starts,
  isFull: false,
  causes: [{ ...cause, starts }],
});

function linked(...misses: readonly (object | undefined)[]): string {
  const programs = misses.map((one, index) => ({ path: `/bin/${index}`, ...(one && { misses: one }) }));
  return JSON.stringify({ manifest: { share: { kept: [] } }, programs });
}

it('names what each cause is about, the program where it is nothing else', () => {
  const json = linked(NONE, noted(2, { cause: 'stack' }), noted(1, { cause: 'file', path: '/lib/l' }));
  expect(readStarts(json).missed).toEqual([
    { cause: 'stack', path: '/bin/1', starts: 2 },
    { cause: 'file', path: '/lib/l', starts: 1 },
  ]);
});

it('reads those of prelinked libraries', () => {
  const misses = noted(4, { cause: 'environment', path: '/bin/a' });
  const prelinked = { programs: [{ path: '/bin/a' }], misses };
  const { missed } = readStarts(JSON.stringify({ manifest: { prelink: { kept: [] } }, prelinked }));
  expect(missed).toEqual([{ cause: 'environment', path: '/bin/a', starts: 4 }]);
});

it('does not take what nobody counted for none', () => {
  expect(readStarts(linked(NONE, undefined)).missed).toBeUndefined();
  expect(() => readStarts(linked({ ...NONE, isFull: true }))).toThrow(
    'more starts were plain than are noted',
  );
});
