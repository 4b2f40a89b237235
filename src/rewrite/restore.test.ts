import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WinnowError } from '../base/errors.ts';
import { isRewritten, recordChanges, restoreModule } from './restore.ts';

/** A file, and the same with some bytes changed. */
const changes = fc
  .uint8Array({ minLength: 64, maxLength: 20_000, size: 'max' })
  .chain((original) =>
    fc.tuple(
      fc.constant(original),
      fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { maxLength: 60 }),
    ),
  );

const rewritten = (original: Uint8Array, places: readonly (readonly [number, number])[]): Buffer => {
  const changed = Uint8Array.from(original);
  for (const [at, value] of places) changed[at] = value;
  const record = recordChanges(original, changed);
  // The header is completed after the record was made, and other parts stand before it.
  changed.fill(0xaa, 24, 48);
  return Buffer.concat([changed, Buffer.alloc(places.length, 7), record]);
};

function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof WinnowError) return error.code;
    throw error;
  }
  return 'nothing was thrown';
}

describe('restoreModule', () => {
  it('gives back what was there, whatever was changed', () => {
    fc.assert(
      fc.property(changes, ([original, places]) => {
        const file = rewritten(original, places);
        expect(isRewritten(file)).toBe(true);
        expect(Buffer.compare(restoreModule(file), original)).toBe(0);
      }),
    );
  });

  const original = Uint8Array.from({ length: 9000 }, (_, i) => i % 251);
  const file = rewritten(original, [
    [100, 1],
    [101, 2],
    [4096, 3],
    [8999, 4],
  ]);

  it('refuses a file that carries no record', () => {
    expect(isRewritten(original)).toBe(false);
    expect(codeOf(() => restoreModule(original))).toBe('E_NOT_REWRITTEN');
    expect(codeOf(() => restoreModule(new Uint8Array(10)))).toBe('E_NOT_REWRITTEN');
  });

  it('refuses the record of a newer winnow', () => {
    const newer = Uint8Array.from(file);
    newer[file.length - 24] = 2;
    expect(codeOf(() => restoreModule(newer))).toBe('E_UNDO_NEWER');
  });

  it('never gives out what is not the original', () => {
    // Bytes that are no part of the record's own runs are not looked at but by the checksum.
    for (const at of [500, 8998, file.length - 8, file.length - 16, file.length - 20, file.length - 40]) {
      const damaged = Uint8Array.from(file);
      damaged[at] = (damaged[at] ?? 0) ^ 0x55;
      expect(codeOf(() => restoreModule(damaged))).toBe('E_UNDO_DAMAGED');
    }
    const cut = Buffer.concat([file.subarray(0, 64), file.subarray(file.length - 32)]);
    expect(codeOf(() => restoreModule(cut))).toBe('E_UNDO_DAMAGED');
  });
});
