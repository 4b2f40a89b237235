import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { Replacement } from './model.ts';
import { urgentWork } from './urgent.ts';

/** A root with an ELF program, whose loader is a link to `/usr/lib/ld.so`, and scripts. */
const root = mkdtempSync(join(tmpdir(), 'winnow-urgent-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const put = (path: string, content: string | Uint8Array): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
};
/** Names /lib/ld-tiny.so. */
put('/bin/tiny', tinyElf().bytes);
put('/usr/lib/ld.so', 'loader');
put('/bin/script', '#! /bin/tiny -x\n');
put('/bin/self', '#!/bin/self\n');
mkdirSync(join(root, 'lib'));
symlinkSync('/usr/lib/ld.so', join(root, 'lib/ld-tiny.so'));

const here = (path: string): string => insideRoot(root, path);
const resolve = (path: string): string => insideRoot(root, path).slice(root.length);
const files = ['/bin/tiny', '/usr/lib/libc.so', '/usr/lib/ld.so'];
const work = (program: string, replacements?: ReadonlyMap<string, Replacement>) =>
  urgentWork(program, { files, resolve, here, replacements });

const whole = (path: string) => ({ path, size: 1, mtimeNs: 0n, inode: 1n, dev: 1n });

describe('urgentWork', () => {
  it('is the loader that the program names, and its file', () => {
    expect(work('/bin/tiny')).toEqual({ paths: ['/lib/ld-tiny.so'], files: [2] });
  });

  it('is what a script is run by, and the loader of that', () => {
    expect(work('/bin/script')).toEqual({ paths: ['/bin/tiny', '/lib/ld-tiny.so'], files: [0, 2] });
  });

  it('ends where a script names itself, and is nothing for a program that is gone', () => {
    expect(work('/bin/self').paths).toEqual(['/bin/self']);
    expect(work('/bin/gone')).toEqual({ paths: [], files: [] });
  });

  it('is what the launcher shows, and not an original that stands for itself', () => {
    const replacements = new Map<string, Replacement>([
      [
        '/bin/tiny',
        { ...whole('/image/00-tiny'), dropped: [], added: [], companions: [whole('/image/00-tiny.linked')] },
      ],
      ['/usr/lib/libc.so', { ...whole('/usr/lib/libc.so'), dropped: [], added: [] }],
    ]);
    expect(work('/bin/tiny', replacements).paths).toEqual([
      '/lib/ld-tiny.so',
      '/bin/tiny',
      '/image/00-tiny',
      '/image/00-tiny.linked',
    ]);
  });
});
