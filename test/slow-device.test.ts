/**
 * `winnow build` on a device with limits, in the control group that they are for. Needs root, loop devices, control groups
 * that limit reading, and dist/ (npm run build).
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Cleanup } from '../bench/support/cleanup.ts';
import { type Disk, makeDisk } from '../bench/support/disk.ts';
import { makeThrottle, SETTINGS, type Throttle } from '../bench/support/throttle.ts';
import { openStore } from '../src/profile/store.ts';
import { diskFolder, extent, profileOf, writePages } from './launch-scene.ts';
import { WINNOW } from './support/winnow.ts';

const folder = diskFolder();
const store = join(folder, 'store');
const undos: (() => void)[] = [];
const cleanup: Cleanup = {
  abort: new AbortController().signal,
  defer: (_what, undo) => undos.push(undo),
  run: () => [],
};
afterAll(() => {
  for (const undo of undos.reverse()) undo();
  rmSync(folder, { recursive: true, force: true });
});

const CONTROLLERS = '/sys/fs/cgroup/cgroup.controllers';
const canMount = process.getuid?.() === 0 && existsSync('/dev/loop-control');
const canLimit =
  existsSync('/sys/fs/cgroup/blkio/blkio.throttle.read_iops_device') ||
  (existsSync(CONTROLLERS) && readFileSync(CONTROLLERS, 'utf8').split(/\s/).includes('io'));

describe.skipIf(!process.env.CI && !(canMount && canLimit))('the gap that a build chooses', () => {
  let throttle: Throttle;
  let disk: Disk;

  /** Runs a command where the disk is mounted: in a namespace of its own, or others that are made meanwhile would hold the mount. */
  const mounted = (script: string, ...words: readonly string[]): string => {
    const mount = `mount -t ext4 "$1" "$2" && shift 2 && ${script}`;
    const inside = ['--mount', '--propagation', 'private', 'sh', '-c', mount, 'sh', disk.device, disk.root];
    const done = spawnSync('unshare', [...inside, ...words], { encoding: 'utf8' });
    expect(done.status, done.stderr).toBe(0);
    return done.stdout;
  };

  beforeAll(() => {
    disk = makeDisk(folder, 96 << 20, cleanup);
    throttle = makeThrottle(disk.number, cleanup);
    const data = join(disk.root, 'data');
    // The profile is made of a file under the mount point, whose copy is known by its content.
    writePages(data, 8192);
    const extents = [extent(10, 5), extent(35, 2), extent(100, 1), extent(2000, 9)];
    const files = [{ path: data, extents }];
    const [run] = profileOf({ program: '/bin/cat', argv: ['cat', data], files }).runs;
    if (run === undefined) throw new Error('no run');
    openStore({ store }).addRun('cat', run);
    copyFileSync(data, join(folder, 'data'));
    mounted('cp "$1" "$2"', join(folder, 'data'), data);
  });

  const inGroup = (...words: readonly string[]): string =>
    mounted('echo 0 > "$1" && shift && exec "$@"', throttle.tasks, WINNOW, ...words, '--store', store);

  it.each([
    ['500', 48, 3],
    ['3000', 4, 4],
  ])('%s', (name, gapPages, plannedExtents) => {
    const setting = SETTINGS.find((one) => one.name === name);
    if (setting === undefined) throw new Error('no such setting');
    throttle.set(setting);
    const { prefetch } = JSON.parse(inGroup('build', '--json'));
    const why =
      setting.name === '500'
        ? { kind: 'slow', requestsPerSecond: expect.any(Number), bytesPerSecond: expect.any(Number) }
        : { kind: 'fast' };
    expect(prefetch.devices).toEqual([
      {
        number: expect.stringMatching(/^7:/),
        name: expect.stringMatching(/^loop/),
        gapPages,
        chunkPages: expect.any(Number),
        why,
      },
    ]);
    const extents = prefetch.rows.find(({ what }: { what: string }) => what === 'extents');
    expect(extents).toEqual({ what: 'extents', used: 4, planned: plannedExtents });
    const says = why.kind === 'slow' ? /slow: [3-7]\d\d requests\/s, \d+ MB\/s/ : /1,200 requests\/s or more/;
    const gap = `gaps of up to ${gapPages} pages are read over`;
    for (const text of [inGroup('build'), inGroup('image', 'show', 'cat')]) {
      expect(text).toMatch(says);
      expect(text).toContain(gap);
    }
  });

  it('is the one that was asked for, also when the image is refreshed', () => {
    const asked = 'gaps of up to 7 pages are read over (as asked for)';
    expect(inGroup('build', '--gap', '7')).toContain(asked);
    inGroup('image', 'refresh', 'cat');
    expect(inGroup('image', 'show', 'cat')).toContain(asked);
  });
});
