/** TypeScript's wake-layout.ts and C's look-ups.h say the same. */
import { describe, expect, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../test/support/c-layout.ts';
import { SMALL_FILE } from '../record/filter.ts';
import * as layout from './wake-layout.ts';

const STRUCTS = {
  sleep: layout.SLEEP,
  sleep_process: layout.PROCESS,
  sleep_reading: layout.READING,
  sleep_entry: layout.ENTRY,
};

const CONSTANTS = {
  WOKEN_NOTICE: layout.WOKEN_NOTICE,
  WOKEN_GONE: layout.WOKEN_GONE,
  WOKEN_SIGNAL: layout.WOKEN_SIGNAL,
  LOGGED_LOOK_UP: layout.LOGGED_LOOK_UP,
  LOGGED_OPEN: layout.LOGGED_OPEN,
  LOGGED_SEEK: layout.LOGGED_SEEK,
  LOGGED_SMALL_FILE: layout.LOGGED_SMALL_FILE,
  PROCESS_SLOTS: layout.PROCESS_SLOTS,
  READINGS_MAX: layout.READINGS_MAX,
};

describe('the layout of the recorder’s sleep', () => {
  const seen = compiledLayout({ header: 'look-ups.h', structs: STRUCTS, constants: Object.keys(CONSTANTS) });

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    expectSameFields(seen, struct, fields);
  });

  it('leaves no field of an entry out', () => expectNoGap('sleep_entry', layout.ENTRY));

  it('agrees on the constants', () => {
    expectSameConstants(seen, CONSTANTS);
    expect(layout.LOGGED_SMALL_FILE).toBe(SMALL_FILE);
  });
});
