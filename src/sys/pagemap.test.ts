import { describe, expect, it } from 'vitest';
import { PAGE_SIZE, pid, userAddress } from '../base/brands.ts';
import { readMaps } from './maps.ts';
import { type AddressRange, backedPages, ownPages } from './pagemap.ts';

const self = pid(process.pid);
/** Code that is in use: nothing comes or goes between two looks, other than in what runs. */
const quiet = (): AddressRange[] =>
  readMaps(self).filter(
    ({ path, readable, writable }) => /\/lib[^/]*\.so/.test(path) && readable && !writable,
  );
const count = (ranges: readonly AddressRange[]): number =>
  ranges.reduce((sum, { start, end }) => sum + (end - start) / PAGE_SIZE, 0);

describe('backedPages', () => {
  it('says the same by PAGEMAP_SCAN and by the bits of pagemap', () => {
    // Looked at once before, so that our own code is there.
    for (const method of ['bits', 'scan'] as const) backedPages(self, quiet(), method);
    const ranges = quiet();
    const bits = backedPages(self, ranges, 'bits');
    expect(backedPages(self, ranges, 'scan')).toEqual(bits);
    expect(count(bits)).toBeGreaterThan(10);
    expect(count(bits)).toBeLessThan(count(ranges));
  });

  it.each(['scan', 'bits'] as const)('stays within the ranges it is given: %s', (method) => {
    const [first] = quiet();
    if (first === undefined) throw new Error('no library');
    const one = { start: first.start, end: userAddress(first.start + PAGE_SIZE) };
    expect(backedPages(self, [one], method)).toEqual([one]);
    expect(backedPages(self, [], method)).toEqual([]);
  });

  it('throws where the process is gone', () => {
    expect(() => backedPages(pid(999_999_999), quiet())).toThrow(/ENOENT/);
  });
});

describe('ownPages', () => {
  /** What the loader relocated and nobody writes any more, and code that nobody ever wrote. */
  const ofLibc = (isCode: boolean): AddressRange[] =>
    readMaps(self).filter(
      ({ path, readable, writable, executable }) =>
        path.endsWith('/libc.so.6') && readable && !writable && executable === isCode,
    );

  it.each(['scan', 'bits'] as const)('are relocated ones, and no code: %s', (method) => {
    const code = ofLibc(true);
    expect(count(backedPages(self, code, method))).toBeGreaterThan(10);
    expect(ownPages(self, code, method)).toEqual([]);
    expect(count(ownPages(self, ofLibc(false), method))).toBeGreaterThan(1);
  });

  it('are the same by PAGEMAP_SCAN and by the bits of pagemap', () => {
    expect(ownPages(self, ofLibc(false), 'scan')).toEqual(ownPages(self, ofLibc(false), 'bits'));
  });
});
