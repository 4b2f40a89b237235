/**
 * Libraries of different kinds with every function copied, judged by winnow's own reader, readelf, eu-elflint and
 * ld.so; rewritten twice, and restored. `npm run bench:all-cloned` takes hundreds. A second or two for each:
 * all code is decoded four times, and the judges read both files.
 */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildLoader, judgeLibrary } from '../bench/support/all-cloned-judge.ts';
import { isThere } from './support/files.ts';

const FOLDER = '/usr/lib/x86_64-linux-gnu';
/** From what the tests' packages bring; C, C++, Fortran and assembly, with RELR, lazily bound and not. */
const LIBRARIES = [
  'libc.so.6',
  'libm.so.6',
  'libgcc_s.so.1',
  'libstdc++.so.6',
  'libgfortran.so.5',
  'libz.so.1',
  'libssl.so.3',
  'libgmp.so.10',
  'libmpfr.so.6',
  'libzstd.so.1',
  'liblzma.so.5',
  'libelf.so.1',
  'libpcre2-8.so.0',
  'libreadline.so.8',
  'libtinfo.so.6',
  'libexpat.so.1',
  'libsqlite3.so.0',
  'libgomp.so.1',
  'libblas.so.3',
  'libtcl8.6.so',
];

let folder = '';
let loader = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-all-cloned-'));
  loader = buildLoader(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('with every function copied, no judge complains of', () => {
  for (const name of LIBRARIES) {
    const path = join(FOLDER, name);
    it.skipIf(!process.env.CI && !isThere(path))(name, () => {
      const judged = judgeLibrary(realpathSync(path), join(folder, name), loader);
      expect(judged.complaints).toEqual([]);
      expect(judged).toMatchObject({ loads: true });
      expect(judged.kept).toBe(undefined);
      // Hand-written code without unwind information stays, as nobody knows how it is called: all of gmp's kernels.
      const unknown = judged.refusedUnits['fragment: no unwind information'] ?? 0;
      expect(judged.clonedUnits).toBeGreaterThan((judged.units - unknown) * 0.99);
    });
  }
});
