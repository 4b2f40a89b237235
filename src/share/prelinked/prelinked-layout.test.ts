/** TypeScript's prelinked-layout.ts and C's prelink.h say the same. */
import { describe, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../../test/support/c-layout.ts';
import { ENVELOPE } from '../../base/envelope.ts';
import * as layout from './prelinked-layout.ts';

const STRUCTS = {
  prelink_header: layout.PRELINK_HEADER,
  prelink_program: layout.PRELINK_PROGRAM,
  prelink_module: layout.PRELINK_MODULE,
};

function missNumber(cause: (typeof layout.PRELINK_MISSES)[number]['cause']): number {
  return layout.PRELINK_MISSES.findIndex((one) => one.cause === cause) + 1;
}

const CONSTANTS = {
  PRELINK_MAGIC: layout.PRELINK_MAGIC,
  PRELINK_VERSION: layout.PRELINK_VERSION,
  PRELINK_PROGRAMS_MAX: layout.PRELINK_PROGRAMS_MAX,
  PRELINK_MODULES_MAX: layout.PRELINK_MODULES_MAX,
  PRELINK_ALL_MODULES_MAX: layout.PRELINK_ALL_MODULES_MAX,
  PRELINK_SIZE_MAX: layout.PRELINK_SIZE_MAX,
  PRELINK_MISS_ENVIRONMENT: missNumber('environment'),
  PRELINK_MISS_FILE: missNumber('file'),
  PRELINK_MISS_COPY: missNumber('copy'),
  PRELINK_MISS_AREA: missNumber('area'),
  PRELINK_MISS_MODULE: missNumber('module'),
};

describe('the layout of prelink.bin', () => {
  const seen = compiledLayout({
    header: 'prelink.h',
    structs: STRUCTS,
    constants: Object.keys(CONSTANTS),
  });

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    expectSameFields(seen, struct, fields);
  });

  it('leaves no field out', () => {
    expectNoGap('prelink_header', layout.PRELINK_HEADER, ENVELOPE.size);
    expectNoGap('prelink_program', layout.PRELINK_PROGRAM);
    expectNoGap('prelink_module', layout.PRELINK_MODULE);
  });

  it('agrees on the constants', () => expectSameConstants(seen, CONSTANTS));
});
