/** Real programs, linked: what the image would have is what another run of their loader has, byte by byte. */
import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { comparedWithFreshRun, linked } from '../../../test/support/snapshot-scene.ts';
import type { LinkedState } from '../model.ts';
import { CAUSES } from './causes.ts';
import { isLinked, linkProgram } from './link.ts';

/** Small, of ten libraries, and linked to fixed addresses. */
const PROGRAMS = ['/usr/bin/true', '/usr/bin/git', '/usr/bin/python3'].filter((path) => existsSync(path));

describe.each(PROGRAMS)('%s', (path) => {
  const state = linked(path);

  it('is, at the addresses of a fresh run, what that run has', () => {
    const { bytes, wrong } = comparedWithFreshRun(state);
    expect(wrong).toEqual([]);
    expect(bytes).toBeGreaterThan(1e6);
  });

  it('needs a dozen fix-ups, each of them in a page of its own bytes', () => {
    expect(state.fixUps.length).toBeGreaterThan(8);
    expect(state.fixUps.length).toBeLessThan(20);
    for (const { at } of [...state.fixUps, ...state.leftovers]) {
      const mapping = state.mappings.find(
        ({ place, size }) =>
          place.anchor === at.anchor && at.offset >= place.offset && at.offset < place.offset + size,
      );
      const page = at.offset - (at.offset % 4096) - (mapping?.place.offset ?? 0);
      expect(mapping?.dirty.some(({ offset }) => offset === page)).toBe(true);
    }
  });

  it('keeps no value of a run without a cause of the catalogue', () => {
    const known = new Set(CAUSES.filter(({ harmless }) => harmless !== undefined).map(({ name }) => name));
    for (const { cause } of state.leftovers) expect(known).toContain(cause);
  });

  it('knows each library by device and inode: why an image is bound to both', () => {
    for (const { path: its, role } of state.files) {
      if (role !== 'library') continue;
      const { dev, ino } = statSync(its, { bigint: true });
      const id = Buffer.alloc(16);
      id.writeBigUInt64LE(dev, 0);
      id.writeBigUInt64LE(ino, 8);
      expect(state.mappings.some(({ dirty }) => dirty.some(({ bytes }) => bytes.includes(id)))).toBe(true);
    }
  });

  it('has the program, its loader and its libraries, with the names that the loader knows', () => {
    expect(state.files.map(({ role }) => role).slice(0, 3)).toEqual(['program', 'loader', 'library']);
    expect(state.files[0]).toMatchObject({ name: '' });
    const libc = state.files.find(({ path: its }) => its.endsWith('/libc.so.6'));
    expect(libc?.name).toMatch(/\/libc\.so\.6$/);
    expect(state.lookups).toContainEqual({ path: '/etc/ld.so.cache', found: true });
  });
});

it('is the same from six runs as from three', () => {
  const [three, six] = [3, 6].map((runs) => linkProgram('/usr/bin/true', { runs }));
  if (three === undefined || six === undefined || !isLinked(three) || !isLinked(six)) throw new Error('kept');
  const shape = ({ pointers, fixUps, leftovers, mappings, ...rest }: LinkedState) => ({
    ...rest,
    pointers,
    fixUps,
    leftovers,
    mappings: mappings.map(({ dirty, ...mapping }) => ({
      ...mapping,
      dirty: dirty.map(({ offset }) => offset),
    })),
  });
  expect(shape(six)).toEqual(shape(three));
});

it('is linked under a rain of signals, as a terminal that is resized sends them to all its programs', () => {
  const { pid } = process;
  const tellAll = `for c in $(cat /proc/${pid}/task/${pid}/children); do kill -WINCH $c; done`;
  const rain = spawn('bash', ['-c', `while kill -0 ${pid}; do ${tellAll}; done 2>/dev/null`]);
  try {
    for (let i = 0; i < 10; i++) expect(linked('/usr/bin/true').fixUps.length).toBeGreaterThan(8);
  } finally {
    rain.kill('SIGKILL');
  }
});
