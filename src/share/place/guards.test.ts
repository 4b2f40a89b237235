/** Guards: for each way in which the loader could be led elsewhere later, one that does not hold then; and few of them. */
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PlacedWatch } from '../linked/linked-model.ts';
import type { LinkedFile, LoaderLookup } from '../model.ts';
import { type Guards, guardsOf, holds } from './guards.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-guards-'));
  for (const name of ['lib', 'opt']) mkdirSync(join(folder, name));
  for (const name of ['lib/libz.so.1.2', 'lib/libz.so.1.3', 'cache', 'program'])
    writeFileSync(join(folder, name), name);
  symlinkSync('libz.so.1.2', join(folder, 'lib/libz.so.1'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);

function file(name: string, role: LinkedFile['role'] = 'library', openedAs = name): LinkedFile {
  const { size, mtimeNs, ino } = statSync(at(name), { bigint: true });
  const identity = { size: Number(size), mtimeNs, inode: ino };
  return { path: at(name), name: openedAs === '' ? '' : at(openedAs), identity, role };
}

const lookup = (name: string, found = false): LoaderLookup => ({ path: at(name), found });

function guards(files: readonly LinkedFile[], lookups: readonly LoaderLookup[]): Guards {
  const made = guardsOf({ files, lookups });
  if (made.kind !== 'guarded') throw new Error(`${made.reason}: ${made.detail}`);
  return made;
}

const watched = (lookups: readonly LoaderLookup[]): PlacedWatch[] => [...guards([], lookups).watches];
const hold = (watches: readonly PlacedWatch[]): boolean => watches.every((watch) => holds(watch));

describe('guards', () => {
  it('know a library by the name that was opened, and leave the program to the kernel', () => {
    const { files } = guards(
      [file('program', 'program', ''), file('lib/libz.so.1.2', 'library', 'lib/libz.so.1')],
      [lookup('lib/libz.so.1', true)],
    );
    expect(files.map((one) => one?.path)).toEqual([undefined, at('lib/libz.so.1')]);
    expect(files[1]?.inode).toBe(statSync(at('lib/libz.so.1.2'), { bigint: true }).ino);
  });

  it('do not watch what each process has of its own', () => {
    expect(watched([{ path: '/proc/self/exe', found: true }])).toEqual([]);
  });

  it('see a file that comes where one was looked for', () => {
    const watches = watched([lookup('opt/libz.so.1')]);
    expect(watches).toEqual([{ kind: 'absent', path: at('opt/libz.so.1') }]);
    expect(hold(watches)).toBe(true);
    writeFileSync(at('opt/other'), '');
    expect(hold(watches)).toBe(true);
    writeFileSync(at('opt/libz.so.1'), '');
    expect(hold(watches)).toBe(false);
  });

  it('watch a folder in which much was looked for, and see what comes and goes there', () => {
    const many = Array.from({ length: 30 }, (_, i) => lookup(`opt/lib${i}.so`));
    const watches = watched(many);
    expect(watches).toMatchObject([{ kind: 'unchanged', path: at('opt'), size: 0 }]);
    expect(hold(watches)).toBe(true);
    utimesSync(at('opt'), new Date(), new Date(Date.now() - 3_600_000));
    expect(hold(watches)).toBe(false);
    const anew = watched(many);
    expect(hold(anew)).toBe(true);
    renameSync(at('opt'), at('moved'));
    expect(hold(anew)).toBe(false);
  });

  it('watch the highest folder that was missing, once', () => {
    const watches = watched([
      lookup('none/hwcaps/v3/libz.so'),
      lookup('none/libz.so'),
      lookup('none/x/libm.so'),
    ]);
    expect(watches).toEqual([{ kind: 'absent', path: at('none') }]);
    mkdirSync(at('none'));
    expect(hold(watches)).toBe(false);
  });

  it('see a changed cache, and a library that is opened by another name', () => {
    const library = file('lib/libz.so.1.2');
    const { watches } = guards(
      [library],
      [lookup('cache', true), lookup('lib', true), lookup('lib/libz.so.1', true)],
    );
    expect(watches.map(({ kind, path }) => [kind, path])).toEqual([
      ['unchanged', at('cache')],
      ['unchanged', at('lib/libz.so.1')],
    ]);
    expect(hold(watches)).toBe(true);
    unlinkSync(at('lib/libz.so.1'));
    symlinkSync('libz.so.1.3', at('lib/libz.so.1'));
    expect(watches.map((watch) => holds(watch))).toEqual([true, false]);
    writeFileSync(at('cache'), 'longer than before');
    expect(watches.map((watch) => holds(watch))).toEqual([false, false]);
  });

  it.each([
    [
      'a file that changed since',
      () => ({ files: [{ ...file('cache'), identity: file('program').identity }], lookups: [] }),
    ],
    ['a file that has come since', () => ({ files: [], lookups: [lookup('cache', false)] })],
    ['a file that has gone since', () => ({ files: [], lookups: [lookup('none', true)] })],
  ])('refuse %s', (_, linked) => {
    expect(guardsOf(linked())).toMatchObject({
      kind: 'kept',
      reason: 'a file has changed while the image was built',
    });
  });

  it('refuse what depends on the folder of the start', () => {
    expect(guardsOf({ files: [{ ...file('cache'), name: './cache' }], lookups: [] })).toMatchObject({
      kind: 'kept',
    });
    expect(guardsOf({ files: [], lookups: [{ path: 'lib/libz.so', found: false }] })).toMatchObject({
      kind: 'kept',
    });
  });
});
