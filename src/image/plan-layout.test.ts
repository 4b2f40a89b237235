import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import * as layout from './plan-layout.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-layout-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

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
};

const SAMPLE = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 89 + (index >> 5)) & 0xff));

/** Names of C fields that have another name here: `size` is the size of the whole. */
const cName = (field: string): string => (field === 'file_size' ? 'size' : field);

/** A program that prints what the compiler makes of runtime/plan.h, one `name value` a line. */
function source(): string {
  const print = (name: string, value: string) =>
    `  printf("${name} %llu\\n", (unsigned long long)(${value}));`;
  const structs = Object.entries(STRUCTS).flatMap(([struct, fields]) =>
    Object.keys(fields).map((field) =>
      field === 'size'
        ? print(`${struct}.size`, `sizeof(struct ${struct})`)
        : print(`${struct}.${field}`, `__builtin_offsetof(struct ${struct}, ${cName(field)})`),
    ),
  );
  const constants = Object.keys(CONSTANTS).map((name) => print(name, name));
  return [
    '#include "plan.h"',
    'int printf(const char *, ...);',
    `static const unsigned long long sample[] = {${Array.from({ length: 512 }, (_, i) => `${SAMPLE.readBigUInt64LE(i * 8)}ull`).join(',')}};`,
    'int main(void) {',
    ...structs,
    ...constants,
    print('checksum', 'plan_checksum(sample, sizeof sample)'),
    '}',
  ].join('\n');
}

function compiled(): Map<string, bigint> {
  const file = join(folder, 'layout.c');
  writeFileSync(file, source());
  const runtime = join(import.meta.dirname, '..', '..', 'runtime');
  const built = spawnSync('gcc', ['-w', `-I${runtime}`, '-o', join(folder, 'layout'), file], {
    encoding: 'utf8',
  });
  expect(built.stderr).toBe('');
  const { stdout } = spawnSync(join(folder, 'layout'), { encoding: 'utf8' });
  const pairs = stdout.trim().split('\n');
  return new Map(pairs.map((line) => [line.split(' ')[0] ?? '', BigInt(line.split(' ')[1] ?? '')]));
}

describe('the layout of plan.bin', () => {
  const seen = compiled();

  it.each(Object.entries(STRUCTS))('agrees with the compiler on struct %s', (struct, fields) => {
    const ours = Object.entries(fields).map(([field, value]) => [`${struct}.${field}`, BigInt(value)]);
    expect(ours.map(([name]) => [name, seen.get(String(name))])).toEqual(ours);
  });

  it('leaves no field out', () => {
    // The fields of each struct, with the 4- and 8-byte ones told apart by where the next begins, fill it.
    for (const [struct, { size, ...fields }] of Object.entries(STRUCTS)) {
      const starts = Object.values(fields).sort((a, b) => a - b);
      const from = struct === 'plan_header' ? layout.ENVELOPE.size : 0;
      expect(starts[0], struct).toBe(from);
      [...starts, size].reduce((at, next) => {
        expect([4, 8], `${struct} at ${at}`).toContain(next - at);
        return next;
      });
    }
  });

  it('agrees on the constants', () => {
    const ours = Object.entries(CONSTANTS).map(([name, value]) => [name, BigInt(value)]);
    expect(ours.map(([name]) => [name, seen.get(String(name))])).toEqual(ours);
  });

  it('agrees on the checksum', () => {
    expect(layout.planChecksum(SAMPLE)).toBe(seen.get('checksum'));
  });
});
