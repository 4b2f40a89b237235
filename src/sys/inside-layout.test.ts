/** TypeScript's inside-layout.ts and C's inside.h say the same. */
import { describe, expect, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../test/support/c-layout.ts';
import * as layout from './inside-layout.ts';

const STRUCTS = {
  inside_site: layout.SITE,
  inside_module: layout.MODULE,
  inside_sites: layout.SITES,
  inside_header: layout.HEADER,
  inside_chunk: layout.CHUNK,
  inside_entry: layout.ENTRY,
  inside_reading: layout.READING,
};

const CONSTANTS: Readonly<Record<string, number | bigint>> = Object.fromEntries(
  Object.entries(layout).flatMap(([name, value]) => (typeof value === 'object' ? [] : [[name, value]])),
);

describe('the layout of what inside.so and the recorder tell each other', () => {
  const seen = compiledLayout({ header: 'inside.h', structs: STRUCTS, constants: Object.keys(CONSTANTS) });

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    expectSameFields(seen, struct, fields);
  });

  it('leaves no field of an entry or a site out', () => {
    expectNoGap('inside_entry', layout.ENTRY);
    expectNoGap('inside_site', layout.SITE);
    expectNoGap('inside_module', layout.MODULE);
  });

  it('agrees on the constants', () => {
    expect(Object.keys(CONSTANTS).length).toBeGreaterThan(15);
    expectSameConstants(seen, CONSTANTS);
  });
});
