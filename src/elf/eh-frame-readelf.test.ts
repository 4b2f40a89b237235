import { readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { elfFiles } from '../../bench/support/elf-files.ts';
import { compareFrames } from '../../bench/support/frames-compare.ts';
import { readEhFrame } from './eh-frame.ts';
import { readElf, readElfFile } from './read.ts';
import * as spec from './spec.ts';

describe('readEhFrame agrees with readelf', () => {
  const SAMPLE = 40;
  const MOST_BYTES = 4 << 20;

  it(`on ${SAMPLE} files of this machine`, { timeout: 120_000 }, () => {
    const files = elfFiles(['/usr/bin', '/usr/lib']).filter((path) => statSync(path).size <= MOST_BYTES);
    const step = Math.max(1, files.length / SAMPLE);
    const sample = Array.from(
      { length: Math.min(SAMPLE, files.length) },
      (_, i) => files[Math.floor(i * step)] ?? '',
    );
    let fdes = 0;
    let tables = 0;
    for (const path of sample) {
      const bytes = readFileSync(path);
      // Other machines are the ELF reader's to refuse; object files have no addresses.
      if (bytes[4] !== spec.ELFCLASS64 || bytes.readUInt16LE(18) !== spec.EM_X86_64) continue;
      if (bytes.readUInt16LE(16) === spec.ET_REL) continue;
      const compared = compareFrames(path, bytes);
      expect({ path, differences: compared.differences }).toEqual({ path, differences: [] });
      fdes += compared.fdes;
      if (compared.frame?.header === undefined) continue;
      expect({ path, problem: compared.frame.headerProblem }).toEqual({ path, problem: undefined });
      tables++;
    }
    expect(fdes).toBeGreaterThan(2_000);
    expect(tables).toBeGreaterThan(10);
  });

  it('and with and without section headers on a library of C++', () => {
    const [path] = elfFiles(['/usr/lib/x86_64-linux-gnu']).filter((name) =>
      name.includes('/libstdc++.so.6.'),
    );
    if (path === undefined) throw new Error('libstdc++ is not installed');
    const bytes = readFileSync(path);
    const stripped = Buffer.from(bytes);
    stripped.fill(0, 40, 48);
    stripped.fill(0, 58, 64);
    const [whole, bare] = [bytes, stripped].map((b) => readEhFrame(readElf(b, path)));
    expect(bare).toEqual(whole);
    expect(whole?.fdes.some(({ lsda }) => lsda !== undefined)).toBe(true);
  });

  it('and the comparison sees a planted difference', () => {
    const path = process.execPath;
    const bytes = readFileSync(path);
    const { fdes } = readEhFrame(readElf(bytes, path));
    const image = readElfFile(path);
    const field = fdes[100]?.rangeAt;
    const at = field === undefined ? undefined : image.offsetOf(field);
    if (at === undefined) throw new Error('there is no FDE to change');
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(compareFrames(path, changed).differences).toHaveLength(1);
  });
});
