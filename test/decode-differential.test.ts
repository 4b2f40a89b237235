/**
 * The decoder and objdump, on libraries of different kinds: C, hand-written assembly with data between the
 * functions, C++, and the dynamic loader. `bench/decode-differential.ts` takes all. A million instructions
 * take two seconds.
 */
import { describe, expect, it } from 'vitest';
import { compareWithObjdump } from '../bench/support/objdump-compare.ts';

const LIBRARIES = ['libz.so.1', 'libm.so.6', 'ld-linux-x86-64.so.2', 'libstdc++.so.6', 'libcrypto.so.3'];
const FOLDER = '/usr/lib/x86_64-linux-gnu';

describe('the decoder agrees with objdump', () => {
  it.each(LIBRARIES)('on %s', (name) => {
    const { differences, refused, compared } = compareWithObjdump(`${FOLDER}/${name}`);
    expect(differences).toEqual([]);
    expect(refused).toBe(0);
    // The judge's own figures: an empty listing must not pass for agreement.
    expect(compared.functions).toBeGreaterThan(100);
    expect(compared.instructions).toBeGreaterThan(compared.functions * 10);
    expect(compared.branches).toBeGreaterThan(compared.functions);
    expect(compared.operands).toBeGreaterThan(compared.functions / 4);
  });
});
