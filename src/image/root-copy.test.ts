import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { pageIndex } from '../base/brands.ts';
import type { BuiltSelect } from '../select/model.ts';
import { copyRoot } from './root-copy.ts';

const folder = mkdtempSync(join(tmpdir(), 'winnow-root-copy-'));
const root = join(folder, 'root');
const out = join(folder, 'out');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const code = (name: string) => expect.objectContaining({ code: name });

beforeEach(() => {
  rmSync(root, { recursive: true, force: true });
  rmSync(out, { recursive: true, force: true });
  mkdirSync(join(root, 'usr', 'lib'), { recursive: true });
  symlinkSync('/usr/lib', join(root, 'lib'));
  const library = join(root, 'usr', 'lib', 'libx.so');
  writeFileSync(library, 'original');
  linkSync(library, join(root, 'usr', 'lib', 'libx.so.1'));
  chmodSync(library, 0o555);
  utimesSync(library, 1, 1_600_000_000);
});

/** Stands for the rewriting of /lib/libx.so. */
const select = async (modules: string, of: string): Promise<BuiltSelect> => {
  expect(of).toBe(root);
  writeFileSync(join(modules, '00-libx.so'), 'rewritten, and longer');
  const figure = { textPages: 2, touchedPages: 1, usedPages: 1, functions: 2, usedFunctions: 1 };
  return {
    cold: 'file',
    kept: [],
    modules: [
      {
        ...{
          path: '/lib/libx.so',
          size: 8,
          mtimeNs: 1n,
          inode: 1n,
          hot: [],
          stayed: [],
          stayedPages: 0,
          ...figure,
        },
        ...{ file: '00-libx.so', fileSize: 21, fileMtimeNs: 0n, fileInode: 0n, usesOrigin: false },
        pages: { dropped: [], added: [], headers: pageIndex(0) },
        figures: {
          ...{ textPages: 2, hotPages: 1, addedReadOnlyPages: 1, units: 2, clonedUnits: 1, jumpTables: 0 },
          ...{ clonedJumpTables: 0, patchedReferences: 0, patchedRelocations: 0, patchedSymbols: 0 },
        },
      },
    ],
  };
};

describe('copyRoot', () => {
  it('puts rewritten modules in the place of the originals, in the copy alone', async () => {
    mkdirSync(out);
    const copy = await copyRoot({ root, out }, select);
    expect(copy.path).toBe(out);
    const library = join(out, 'usr', 'lib', 'libx.so');
    expect(readFileSync(library, 'utf8')).toBe('rewritten, and longer');
    const stat = statSync(library);
    expect([stat.mode & 0o777, stat.mtimeMs]).toEqual([0o555, 1_600_000_000_000]);
    expect(statSync(join(out, 'usr', 'lib', 'libx.so.1')).ino, 'hard links stay').toBe(stat.ino);
    expect(readFileSync(join(root, 'usr', 'lib', 'libx.so'), 'utf8')).toBe('original');
    expect(copy.select.modules).toMatchObject([{ path: '/lib/libx.so', fileSize: 21 }]);
    expect(readdirSync(folder).sort()).toEqual(['out', 'root']);
  });

  it('leaves nothing where it fails', async () => {
    const fails = async (): Promise<BuiltSelect> => {
      throw new Error('rewriting');
    };
    await expect(copyRoot({ root, out }, fails)).rejects.toThrow('rewriting');
    expect(existsSync(out)).toBe(false);
    expect(readdirSync(folder)).toEqual(['root']);
  });

  it('overwrites nothing, and copies nothing into itself', async () => {
    writeFileSync(out, 'mine');
    await expect(copyRoot({ root, out }, select)).rejects.toThrow(code('E_USAGE'));
    expect(readFileSync(out, 'utf8')).toBe('mine');
    await expect(copyRoot({ root, out: join(root, 'out') }, select)).rejects.toThrow(code('E_USAGE'));
    await expect(copyRoot({ root, out: folder }, select)).rejects.toThrow(code('E_USAGE'));
    await expect(copyRoot({ root: join(folder, 'none'), out }, select)).rejects.toThrow(code('E_USAGE'));
  });
});
