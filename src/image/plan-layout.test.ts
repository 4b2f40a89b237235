/** TypeScript's plan-layout.ts and C's plan.h say the same. */
import { describe, expect, it } from 'vitest';
import {
  compiledLayout,
  expectNoGap,
  expectSameConstants,
  expectSameFields,
} from '../../test/support/c-layout.ts';
import * as layout from './plan-layout.ts';

const STRUCTS = {
  plan_envelope: layout.ENVELOPE,
  plan_header: layout.HEADER,
  plan_probe: layout.PROBE,
  plan_file: layout.FILE,
  plan_extent: layout.EXTENT,
  plan_lookup: layout.LOOKUP,
  plan_task: layout.TASK,
};

const CONSTANTS = {
  PLAN_MAGIC: layout.PLAN_MAGIC,
  PLAN_VERSION: layout.PLAN_VERSION,
  PLAN_HEAD_MAX: layout.PLAN_HEAD_MAX,
  PLAN_PROBES_MAX: layout.PLAN_PROBES_MAX,
  PLAN_WORKERS_MAX: layout.PLAN_WORKERS_MAX,
  PLAN_CHUNK_MAX: layout.PLAN_CHUNK_MAX,
  PLAN_SIZE_MAX: layout.PLAN_SIZE_MAX,
  PLAN_TASK_FILE: layout.PLAN_TASK_FILE,
  PLAN_TASK_LOOKUPS: layout.PLAN_TASK_LOOKUPS,
  PLAN_MISS_GONE: layout.PLAN_MISS_GONE,
  PLAN_MISS_CHANGED: layout.PLAN_MISS_CHANGED,
};

const SAMPLE = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 89 + (index >> 5)) & 0xff));
const WORDS = Array.from({ length: 512 }, (_, index) => `${SAMPLE.readBigUInt64LE(index * 8)}ull`);

describe('the layout of plan.bin', () => {
  const seen = compiledLayout({
    header: 'plan.h',
    structs: STRUCTS,
    constants: Object.keys(CONSTANTS),
    values: { checksum: 'plan_checksum(sample, sizeof sample)' },
    definitions: `static const unsigned long long sample[] = {${WORDS.join(',')}};`,
  });

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    expectSameFields(seen, struct, fields);
  });

  it('leaves no field out', () => {
    for (const [struct, fields] of Object.entries(STRUCTS)) {
      expectNoGap(struct, fields, struct === 'plan_header' ? layout.ENVELOPE.size : 0);
    }
  });

  it('agrees on the constants', () => expectSameConstants(seen, CONSTANTS));

  it('agrees on the checksum', () => {
    expect(layout.planChecksum(SAMPLE)).toBe(seen.get('checksum'));
  });
});
