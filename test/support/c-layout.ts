/** What the C compiler makes of a header of the runtime: sizes, offsets, constants. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';

/** Offsets of the fields by name, and the size of the whole. */
export type Fields = Readonly<Record<string, number>> & { readonly size: number };

export interface Layout {
  /** File name in runtime/. */
  readonly header: string;
  readonly structs: Readonly<Record<string, Fields>>;
  /** Names of constants. */
  readonly constants: readonly string[];
  /** Further expressions, by name. */
  readonly values?: Readonly<Record<string, string>>;
  /** Definitions that they need. */
  readonly definitions?: string;
}

/** Names of C fields that have another name in TypeScript: `size` is the size of the whole. */
const C_NAMES: Readonly<Record<string, string>> = {
  file_size: 'size',
  map_size: 'size',
  word_size: 'size',
  log_size: 'size',
  entry_size: 'size',
};
const cName = (field: string): string => C_NAMES[field] ?? field;

const print = (name: string, value: string): string =>
  `  printf("${name} %llu\\n", (unsigned long long)(${value}));`;

/** A program that prints one `name value` a line. */
function source({ header, structs, constants, values = {}, definitions = '' }: Layout): string {
  const fields = Object.entries(structs).flatMap(([struct, members]) =>
    Object.keys(members).map((field) =>
      field === 'size'
        ? print(`${struct}.size`, `sizeof(struct ${struct})`)
        : print(`${struct}.${field}`, `__builtin_offsetof(struct ${struct}, ${cName(field)})`),
    ),
  );
  return [
    `#include "${header}"`,
    'int printf(const char *, ...);',
    definitions,
    'int main(void) {',
    ...fields,
    ...constants.map((name) => print(name, name)),
    ...Object.entries(values).map(([name, value]) => print(name, value)),
    '}',
  ].join('\n');
}

/** The compiler's values by name: `struct.field`, `struct.size`, constants, further expressions. */
export function compiledLayout(layout: Layout): Map<string, bigint> {
  const folder = mkdtempSync(join(tmpdir(), 'winnow-layout-'));
  try {
    const file = join(folder, 'layout.c');
    writeFileSync(file, source(layout));
    const runtime = join(import.meta.dirname, '..', '..', 'runtime');
    const program = join(folder, 'layout');
    const built = spawnSync('gcc', ['-w', `-I${runtime}`, '-o', program, file], { encoding: 'utf8' });
    expect(built.stderr).toBe('');
    const pairs = spawnSync(program, { encoding: 'utf8' }).stdout.trim().split('\n');
    return new Map(pairs.map((line) => [line.split(' ')[0] ?? '', BigInt(line.split(' ')[1] ?? '')]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** That each field is where TypeScript has it. */
export function expectSameFields(seen: ReadonlyMap<string, bigint>, struct: string, fields: Fields): void {
  const ours = Object.entries(fields).map(([field, value]) => [`${struct}.${field}`, BigInt(value)]);
  expect(ours.map(([name]) => [name, seen.get(String(name))])).toEqual(ours);
}

/** That the fields, of 4 or 8 bytes each and told apart by where the next begins, fill the struct from `from`. */
export function expectNoGap(struct: string, { size, ...fields }: Fields, from = 0): void {
  const starts = Object.values(fields).sort((a, b) => a - b);
  expect(starts[0], struct).toBe(from);
  [...starts, size].reduce((at, next) => {
    expect([4, 8], `${struct} at ${at}`).toContain(next - at);
    return next;
  });
}

export function expectSameConstants(
  seen: ReadonlyMap<string, bigint>,
  constants: Readonly<Record<string, number | bigint>>,
): void {
  const ours = Object.entries(constants).map(([name, value]) => [name, BigInt(value)]);
  expect(ours.map(([name]) => [name, seen.get(String(name))])).toEqual(ours);
}
