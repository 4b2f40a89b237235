/** `winnow build --root DIR`: an image for a copied root file system, and its life in there. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identifyFile } from '../src/profile/identity.ts';
import { openStore } from '../src/profile/store.ts';
import { residentPages } from '../src/sys/page-cache.ts';
import { diskFolder, evict, extent, isRoot, profileOf, writePages } from './launch-scene.ts';
import { codeOf, winnowOn } from './support/winnow.ts';

const folder = diskFolder();
const root = join(folder, 'root');
const store = join(root, 'var/lib/winnow');
const winnow = winnowOn(store);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Says which file it has found, and what it was started as: no libc's loader, no /proc. */
const SOURCE = `#include <stdio.h>
int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("%s\\n", argv[i]);
  FILE *name = fopen("/app/name", "r");
  char line[64] = "nothing";
  if (name) fgets(line, sizeof line, name);
  printf("%s\\n", line);
  return 7;
}
`;

const inRoot = (path: string): string => join(root, path);

function put(path: string, text: string): void {
  mkdirSync(dirname(inRoot(path)), { recursive: true });
  writeFileSync(inRoot(path), text);
}

function residentCount(path: string): number {
  const fd = openSync(path, 'r');
  try {
    return residentPages(fd)?.reduce((sum, page) => sum + page, 0) ?? -1;
  } finally {
    closeSync(fd);
  }
}

beforeAll(() => {
  put('srv/app/name', 'inside the root');
  put('srv/app/changed', 'other words');
  // /app and /bin lead to other folders of the root; the machine's own must not be meant.
  symlinkSync('/srv/app', inRoot('app'));
  mkdirSync(inRoot('usr/bin'), { recursive: true });
  symlinkSync('/usr/bin', inRoot('bin'));
  symlinkSync('/usr/bin/winnow-tool-1.0', inRoot('usr/bin/winnow-tool'));
  writeFileSync(join(folder, 'tool.c'), SOURCE);
  const program = inRoot('usr/bin/winnow-tool-1.0');
  const built = spawnSync('gcc', ['-static', '-o', program, join(folder, 'tool.c')], { encoding: 'utf8' });
  expect(built.stderr).toBe('');
  writePages(inRoot('srv/app/data'), 64);
  spawnSync('cp', [inRoot('srv/app/data'), join(folder, 'data')]);

  // Recorded on another machine, as it were: the same content, other inodes.
  writeFileSync(join(folder, 'changed'), 'these words');
  const files = [
    // Too few pages would not be probed.
    { path: join(folder, 'data'), extents: [extent(8, 40)] },
    { path: join(folder, 'changed'), extents: [extent(0, 1)] },
  ];
  const argv = ['winnow-tool', 'one'];
  const lookups = [
    { path: '/app', found: true },
    { path: '/app/none', found: false },
  ];
  const [run] = profileOf({ program: '/bin/winnow-tool', argv, files, lookups }).runs;
  if (run === undefined) throw new Error('no run');
  const moved = run.files.map((file) => ({ ...file, path: file.path.replace(folder, '/app') }));
  openStore({ store }).addRun('tool', { ...run, files: moved });
});

describe('an image for a copied root', () => {
  const build = (...words: readonly string[]) => winnow('build', ['--name', 'tool', ...words]);
  const shown = () => JSON.parse(winnow('image show', ['tool', '--json']).stdout);

  it('holds paths, links and identities as they are inside', () => {
    const built = build('--root', root);
    expect(built.stderr).toBe('');
    const { plan, manifest } = shown();
    const real = statSync(inRoot('srv/app/data'), { bigint: true });
    expect(plan.files).toMatchObject([
      { path: '/app/data', inode: String(real.ino), mtimeNs: String(real.mtimeNs), size: Number(real.size) },
    ]);
    expect(identifyFile(join(folder, 'data')).inode).not.toBe(real.ino);
    expect(manifest).toMatchObject({
      root,
      command: { program: '/bin/winnow-tool' },
      prefetch: { figures: { readopted: 1 }, skipped: [{ path: '/app/changed', reason: 'changed' }] },
    });
    expect(plan.lookups).toEqual([
      { path: '/app', found: true },
      { path: '/app/none', found: false },
    ]);
    expect(readlinkSync(join(store, 'images/tool/program'))).toBe('/bin/winnow-tool');
  });

  it('is the same for a root that is named in another way', () => {
    build('--root', root);
    const { plan, manifest } = shown();
    for (const other of [`./${relative(folder, root)}/`, `${root}/../root/.`]) {
      const built = winnow('build', ['--name', 'tool', '--root', other], { cwd: folder });
      expect(built.status, built.stderr).toBe(0);
      expect(shown().plan).toEqual(plan);
      expect(shown().manifest.root).toBe(manifest.root);
    }
  });

  it.each([
    ['no folder', () => inRoot('srv/app/name')],
    ['nothing', () => inRoot('none')],
    ['nothing below a file', () => inRoot('srv/app/name/x')],
  ])('is refused where the root is %s', (_what, path) => {
    const built = build('--root', path());
    expect([built.status, codeOf(built), built.stdout]).toEqual([2, 'E_USAGE', '']);
  });

  it('is refused without --root: the program is not of this machine', () => {
    const built = build();
    expect([built.status, codeOf(built), built.stdout]).toEqual([127, 'E_PROGRAM_NOT_FOUND', '']);
  });

  it.skipIf(!process.env.CI && !isRoot)('runs in there, prefetched (needs root for chroot)', async () => {
    build('--root', root);
    const data = inRoot('srv/app/data');
    evict(data);
    expect(residentCount(data)).toBe(0);
    const start = (name: string, ...words: string[]) =>
      spawnSync('chroot', [root, join('/var/lib/winnow/images/tool', name), ...words], { encoding: 'utf8' });
    const launched = start('launch', 'two');
    expect(launched.stdout).toBe('/var/lib/winnow/images/tool/launch\ntwo\ninside the root\n');
    expect([launched.status, launched.stderr]).toEqual([7, '']);
    await expect.poll(() => residentCount(data), { timeout: 5000 }).toBeGreaterThanOrEqual(40);
    expect(start('command', 'two').stdout).toBe('winnow-tool\none\ntwo\ninside the root\n');
  });
});
