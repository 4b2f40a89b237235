/** TypeScript's cold-layout.ts and C's cold.h say the same. */
import { describe, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../test/support/c-layout.ts';
import * as layout from './cold-layout.ts';

const STRUCTS = {
  plan_envelope: {
    size: layout.COLD_CHECKED_FROM,
    magic: layout.COLD_HEADER.magic,
    version: layout.COLD_HEADER.version,
    head_size: layout.COLD_HEADER.head_size,
    total_size: layout.COLD_HEADER.total_size,
    head_checksum: layout.COLD_HEADER.head_checksum,
  },
  cold_header: {
    size: layout.COLD_HEADER.size,
    module_size: layout.COLD_HEADER.module_size,
    flags: layout.COLD_HEADER.flags,
    range_count: layout.COLD_HEADER.range_count,
    chunk_count: layout.COLD_HEADER.chunk_count,
    hidden_count: layout.COLD_HEADER.hidden_count,
  },
  cold_range: layout.COLD_RANGE,
  cold_hidden: layout.COLD_HIDDEN,
  cold_chunk: {
    size: layout.COLD_CHUNK_ROW.size,
    offset: layout.COLD_CHUNK_ROW.offset,
    checksum: layout.COLD_CHUNK_ROW.checksum,
  },
};

const CONSTANTS = {
  COLD_MAGIC: layout.COLD_MAGIC,
  COLD_VERSION: layout.COLD_VERSION,
  COLD_CHUNK: layout.COLD_CHUNK,
  COLD_REACH: layout.COLD_REACH,
  COLD_RANGES_MAX: layout.COLD_RANGES_MAX,
  COLD_HIDDEN_MAX: layout.COLD_HIDDEN_MAX,
  COLD_SIZE_MAX: layout.COLD_SIZE_MAX,
  COLD_STORED: layout.COLD_STORED,
  COLD_LOG: layout.COLD_LOG,
  COLD_RANGE_CODE: layout.COLD_RANGE_CODE,
};

describe('the layout of .cold files', () => {
  const seen = compiledLayout({ header: 'cold.h', structs: STRUCTS, constants: Object.keys(CONSTANTS) });

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    expectSameFields(seen, struct, fields);
  });

  it('leaves no field out', () => {
    expectNoGap('cold_header', STRUCTS.cold_header, layout.COLD_CHECKED_FROM);
    expectNoGap('cold_range', layout.COLD_RANGE);
    expectNoGap('cold_hidden', layout.COLD_HIDDEN);
  });

  it('agrees on the constants', () => expectSameConstants(seen, CONSTANTS));
});
