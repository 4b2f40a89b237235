/** What the launcher brings into memory, seen in the page cache, and how its workers keep out of the way. */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { decodePlan } from '../src/image/plan-decode.ts';
import { encodePlan } from '../src/image/plan-encode.ts';
import { readPlanMisses } from '../src/image/plan-misses.ts';
import { evict, extent, isRoot, PLANNED, Scene, writePages } from './launch-scene.ts';

const scene = new Scene();
afterAll(() => scene.drop());
beforeEach(() => {
  scene.build();
  evict(scene.data);
});

const start = (path = scene.launch) => spawnSync(path, ['exit', '5'], { encoding: 'utf8' });
/** Long enough for workers that had something to do. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 150));
const isPlanned = (pages: string): boolean => pages === PLANNED;

describe('the prefetch', () => {
  it('brings in the planned pages and no other', async () => {
    expect(scene.resident()).toBe('');
    expect(start().status).toBe(5);
    expect(await scene.residentAfter(isPlanned)).toBe(PLANNED);
    await settled();
    expect(scene.resident()).toBe(PLANNED);
  });

  it('reads nothing where the probed pages are in memory', async () => {
    const { probes } = decodePlan(readFileSync(scene.plan), scene.plan);
    expect(probes).toHaveLength(3);
    const pages = probes.map(({ page }) => page).sort((a, b) => a - b);
    spawnSync(scene.program, ['load', scene.data, ...pages.map(String)]);
    expect(start().status).toBe(5);
    await settled();
    expect(scene.resident()).toBe(pages.map((page) => `${page}+1\n`).join(''));
  });

  it('does so from the launcher itself where orphans are not reaped', async () => {
    spawnSync(scene.program, ['reaper', scene.launch, 'x', 'exit', '0']);
    expect(await scene.residentAfter(isPlanned)).toBe(PLANNED);
  });

  it.skipIf(!process.env.CI && !isRoot)('tells warm from cold on overlayfs too (needs root)', async () => {
    const at = (name: string): string => join(scene.folder, `overlay-${name}`);
    for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(at(name));
    writePages(join(at('lower'), 'data'), 2048);
    const layers = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`;
    expect(spawnSync('mount', ['-t', 'overlay', 'none', '-o', layers, at('merged')]).status).toBe(0);
    try {
      const path = join(at('merged'), 'data');
      scene.build({ files: [{ path, extents: scene.extents }] });
      const { probes } = decodePlan(readFileSync(scene.plan), scene.plan);
      const pages = probes.map(({ page }) => page).sort((a, b) => a - b);
      evict(path);
      spawnSync(scene.program, ['load', path, ...pages.map(String)]);
      const warm = scene.resident(path);
      start();
      await settled();
      expect(scene.resident(path)).toBe(warm);
      evict(path);
      start();
      expect(await scene.residentAfter(isPlanned, path)).toBe(PLANNED);
    } finally {
      spawnSync('umount', [at('merged')]);
    }
  });

  it('repeats the look-ups and survives those that fail', async () => {
    const lookups = [
      { path: join(scene.folder, 'missing'), found: false },
      { path: scene.data, found: true },
      { path: '/nowhere/at/all', found: false },
      { path: scene.folder, found: true },
    ];
    scene.build({ lookups });
    evict(scene.data);
    // The program's loader comes first, which no recording has.
    expect(decodePlan(readFileSync(scene.plan), scene.plan).lookups.map(({ path }) => path)).toEqual([
      '/lib64/ld-linux-x86-64.so.2',
      join(scene.folder, 'missing'),
      '/nowhere/at/all',
      scene.folder,
    ]);
    start();
    expect(await scene.residentAfter(isPlanned)).toBe(PLANNED);
  });

  // A probe is answered before anything is compared: it may have begun to read its own page.
  const few = (pages: string): boolean => pages.split('\n').length <= 4 && !/\+\d\d/.test(pages);

  it.each([
    ['longer', (path: string) => appendFileSync(path, 'x')],
    ['touched', (path: string) => utimesSync(path, 1, 1)],
    [
      'replaced',
      (path: string) => {
        writePages(`${path}.new`, 2048);
        renameSync(`${path}.new`, path);
      },
    ],
  ])('leaves out a file that has become another one: %s', async (_how, change) => {
    const path = join(scene.folder, 'changing');
    writePages(path, 2048);
    scene.build({ files: [{ path, extents: scene.extents }] });
    change(path);
    spawnSync('sync', [path]);
    evict(path);
    expect(start().status).toBe(5);
    await settled();
    expect(scene.resident(path)).toSatisfy(few);
  });

  it('never opens a pipe that stands where a file was', async () => {
    const path = join(scene.folder, 'pipe');
    writePages(path, 64);
    scene.build({
      files: [
        { path: scene.data, extents: scene.extents },
        { path, extents: [extent(0, 64)] },
      ],
    });
    renameSync(path, `${path}.file`);
    spawnSync('mkfifo', [path]);
    const writer = spawnSync(
      'sh',
      [
        '-c',
        `(echo x >"$1"; echo opened >"$1.opened") & w=$!; "$0" exit 5; s=$?; sleep 0.2; kill $w; exit $s`,
        scene.launch,
        path,
      ],
      { encoding: 'utf8', stdio: ['ignore', 'ignore', 'ignore'] },
    );
    expect(writer.status).toBe(5);
    expect(readdirSync(scene.folder)).not.toContain('pipe.opened');
    renameSync(`${path}.file`, path);
  });
});

describe('a plan that cannot be trusted', () => {
  it('others can write it: the program runs plainly', async () => {
    for (const mode of [0o620, 0o602, 0o666]) {
      chmodSync(scene.plan, mode);
      expect(start().status).toBe(5);
    }
    await settled();
    expect(scene.resident()).toBe('');
    chmodSync(scene.plan, 0o600);
    start();
    expect(await scene.residentAfter(isPlanned)).toBe(PLANNED);
  });

  it.skipIf(!process.env.CI && !isRoot)('it belongs to somebody else: the same (needs root)', async () => {
    chownSync(scene.plan, 12_345, 0);
    expect(start().status).toBe(5);
    await settled();
    expect(scene.resident()).toBe('');
  });

  it('it is a symbolic link: the same', async () => {
    renameSync(scene.plan, `${scene.plan}.real`);
    spawnSync('ln', ['-s', 'plan.bin.real', scene.plan]);
    expect(start().status).toBe(5);
    await settled();
    expect(scene.resident()).toBe('');
  });
});

interface Worker {
  readonly pid: number;
  readonly session: string;
  readonly terminal: string;
  readonly parent: number;
}

/** The workers that have this test's plan mapped; others may run at the same time. */
function workers(): Worker[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      if (!stat.includes('(winnow-prefetch)')) return [];
      if (!readFileSync(`/proc/${pid}/maps`, 'latin1').includes(scene.folder)) return [];
      const [, parent = '', , session = '', terminal = ''] = stat.replace(/^.*\) /s, '').split(' ');
      return [{ pid: Number(pid), session, terminal, parent: Number(parent) }];
    } catch {
      return [];
    }
  });
}

/** A plan that keeps its workers busy for seconds. */
function buildLongPlan(): void {
  const plan = decodePlan(readFileSync(scene.plan), scene.plan);
  const count = 1_000_000;
  const lookups = Array.from({ length: count }, () => ({
    path: '/usr/share/doc/../man/../info/none',
    found: false,
  }));
  const long = Array.from({ length: 8 }, () => ({ kind: 'lookups', first: 0, count }) as const);
  writeFileSync(scene.plan, encodePlan({ ...plan, lookups, tasks: [...long, ...plan.tasks] }));
}

describe('the workers', () => {
  it('hold nothing of the program: no pipe, no folder, no terminal, no parent', async () => {
    buildLongPlan();
    // Through pipes: this returns when nobody holds their other end.
    const done = spawnSync(scene.launch, ['report'], { encoding: 'utf8', cwd: scene.folder });
    let found: Worker[] = [];
    const until = Date.now() + 2000;
    while (found.length < 4 && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      found = workers();
    }
    try {
      expect(done.status).toBe(0);
      expect(done.stdout).toContain('wait4 -1 ECHILD');
      expect(found).toHaveLength(4);
      const own = readFileSync('/proc/self/stat', 'latin1')
        .replace(/^.*\) /s, '')
        .split(' ')[3];
      for (const { pid, session, terminal, parent } of found) {
        expect(session).not.toBe(own);
        expect(terminal).toBe('0');
        expect(parent).not.toBe(process.pid);
        expect(readlinkSync(`/proc/${pid}/cwd`)).toBe('/');
        expect(readdirSync(`/proc/${pid}/fd`)).toEqual([]);
      }
    } finally {
      for (const { pid } of found) process.kill(pid, 'SIGKILL');
    }
  });
});

describe('files that cold starts left out', () => {
  const misses = () => {
    const image = { path: scene.image };
    return readPlanMisses(image, decodePlan(readFileSync(scene.plan), scene.plan));
  };
  const notedAfter = async (starts: number) => {
    const until = Date.now() + 5000;
    while ((misses()?.files[0]?.starts ?? 0) < starts && Date.now() < until) await settled();
    await settled();
    return misses();
  };
  const later = () => {
    const time = new Date(Date.now() - 1000);
    utimesSync(scene.data, time, time);
  };

  it('are none where all is as it was', async () => {
    expect(start().status).toBe(5);
    expect(await scene.residentAfter(isPlanned)).toBe(PLANNED);
    expect(misses()).toEqual({ isFull: false, files: [] });
  });

  it('are noted once for each start, by their cause', async () => {
    later();
    for (let i = 1; i <= 2; i += 1) {
      evict(scene.data);
      expect(start().status).toBe(5);
      expect(await notedAfter(i)).toMatchObject({
        isFull: false,
        files: [{ cause: 'changed', path: scene.data, starts: i }],
      });
    }
  });

  it('are told from those that are gone', async () => {
    const path = join(scene.folder, 'going');
    writePages(path, 64);
    scene.build({
      files: [
        { path: scene.data, extents: scene.extents },
        { path, extents: [extent(0, 64)] },
      ],
    });
    rmSync(path);
    evict(scene.data);
    expect(start().status).toBe(5);
    expect((await notedAfter(1))?.files).toEqual([{ cause: 'gone', path, starts: 1 }]);
    expect(scene.resident()).toBe(PLANNED);
  });

  it('are noted by the launcher itself where orphans are not reaped', async () => {
    later();
    spawnSync(scene.program, ['reaper', scene.launch, 'x', 'exit', '0']);
    expect((await notedAfter(1))?.files).toEqual([{ cause: 'changed', path: scene.data, starts: 1 }]);
  });

  it('are not noted where the file is gone, or nobody may let files grow', async () => {
    later();
    const limited = ['--fsize=0', scene.launch, 'exit', '5'];
    expect(spawnSync('prlimit', limited).status).toBe(5);
    await settled();
    expect(misses()?.files).toEqual([]);
    evict(scene.data);
    rmSync(join(scene.image, 'plan.misses'));
    expect(start().status).toBe(5);
    await settled();
    expect(misses()).toBeUndefined();
  });
});
