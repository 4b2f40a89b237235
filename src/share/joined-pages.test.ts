/** Where a joined image has pages of modules: at each place stand the bytes of the page. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { around, FILES, random, state } from '../../test/support/linked-states.ts';
import { PAGE_SIZE } from '../base/brands.ts';
import { joinedPages } from './joined-pages.ts';
import { chooseBases } from './place/addresses.ts';
import { placeLinked } from './place/place.ts';

const HEAD = 3 * PAGE_SIZE;

const most = fc.oneof(fc.nat(14), fc.constant(Number.POSITIVE_INFINITY));

it('says for each page of a module where it stands, and what no recording tells of', () => {
  fc.assert(
    fc.property(state, random, most, (linked, dice, mostCopied) => {
      const bases = chooseBases(linked, dice);
      const image = placeLinked(linked, bases, { ...around, variant: 'joined', mostCopied });
      const { always, modules } = joinedPages(linked, bases, image, HEAD);
      const written = new Set(
        always.flatMap(({ page, count }) => Array.from({ length: count }, (_, i) => page + i)),
      );
      expect([0, 1, 2].every((page) => written.has(page))).toBe(true);
      const seen = linked.mappings.filter(
        ({ protection: { read, write, execute } }) => read || write || execute,
      );
      const dirty = seen.reduce((sum, mapping) => sum + mapping.dirty.length, 0);
      expect(written.size).toBe(3 + dirty);
      let told = 0;
      for (const { path, pieces } of modules) {
        const file = linked.files.findIndex((one) => one.path === path);
        for (const { page, count, to } of pieces) {
          told += count;
          for (let i = 0; i < count; i += 1) {
            if (written.has(to + i)) continue;
            const at = (to + i) * PAGE_SIZE - HEAD;
            const original = FILES[file]?.subarray((page + i) * PAGE_SIZE, (page + i + 1) * PAGE_SIZE);
            expect(image.pages.subarray(at, at + PAGE_SIZE).equals(original ?? Buffer.alloc(0))).toBe(true);
          }
        }
      }
      const mapped = seen
        .filter(({ place, source }) => source !== undefined && place.anchor !== 'program')
        .reduce((sum, { size }) => sum + size / PAGE_SIZE, 0);
      const inFiles = image.maps
        .filter(({ source }) => source.kind === 'file')
        .reduce((sum, { size }) => sum + size / PAGE_SIZE, 0);
      expect(told + inFiles).toBe(mapped);
    }),
  );
});
