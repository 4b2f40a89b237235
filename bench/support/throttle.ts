/**
 * Storage settings: limits on reading from the loop device for the processes of one control group.
 * Control groups of version 1 (blkio.throttle) where they are, else version 2 (io.max).
 *
 * A loop device's own I/O is done by a kernel worker, but the limit acts where the request enters the
 * loop device, in the name of the process that asked: `probe` in prefetch.ts checks that it bites.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import type { Cleanup } from './cleanup.ts';

export interface Setting {
  readonly name: string;
  readonly title: string;
  /** Reads a second; undefined for no limit. */
  readonly iops?: number;
  /** Bytes a second. */
  readonly bps?: number;
  /** Measured beside the gap that the build chooses there. */
  readonly otherGap?: number;
}

export const SETTINGS: readonly Setting[] = [
  { name: 'free', title: 'unthrottled' },
  { name: '3000', title: '3000 IOPS, 125 MB/s', iops: 3000, bps: 125_000_000 },
  { name: '500', title: '500 IOPS, 100 MB/s', iops: 500, bps: 100_000_000, otherGap: 4 },
];

export const isLimited = ({ iops }: Setting): boolean => iops !== undefined;

export interface Throttle {
  /** File to which a process writes 0 to join. */
  readonly tasks: string;
  readonly version: 1 | 2;
  set(setting: Setting): void;
  /** Has this process in the group while it does something. */
  inside<T>(body: () => Promise<T>): Promise<T>;
}

/** Makes a control group for the device `major:minor`. @throws WinnowError `E_BENCH_CGROUP` */
export function makeThrottle(device: string, cleanup: Cleanup): Throttle {
  const name = `winnow-bench-${process.pid}`;
  const make = (parent: string): string => {
    const folder = join(parent, name);
    mkdirSync(folder);
    cleanup.defer(`remove ${folder}`, () => rmdirSync(folder));
    return folder;
  };
  const first = mountPoint('cgroup', 'blkio');
  if (first !== undefined) {
    const tasks = join(make(first), 'cgroup.procs');
    const folder = dirname(tasks);
    return {
      version: 1,
      tasks,
      inside: (body) => insideOf(tasks, join(first, ownGroup('blkio'), 'cgroup.procs'), body),
      set({ iops, bps }) {
        // 0 takes the limit away.
        writeFileSync(join(folder, 'blkio.throttle.read_iops_device'), `${device} ${iops ?? 0}`);
        writeFileSync(join(folder, 'blkio.throttle.read_bps_device'), `${device} ${bps ?? 0}`);
      },
    };
  }
  const second = mountPoint('cgroup2', '');
  if (second !== undefined && readFileSync(join(second, 'cgroup.controllers'), 'utf8').includes('io')) {
    writeFileSync(join(second, 'cgroup.subtree_control'), '+io');
    const folder = make(second);
    if (existsSync(join(folder, 'io.max'))) {
      const tasks = join(folder, 'cgroup.procs');
      return {
        version: 2,
        tasks,
        inside: (body) => insideOf(tasks, join(second, ownGroup(''), 'cgroup.procs'), body),
        set({ iops, bps }) {
          writeFileSync(join(folder, 'io.max'), `${device} riops=${iops ?? 'max'} rbps=${bps ?? 'max'}`);
        },
      };
    }
  }
  throw new WinnowError({
    code: 'E_BENCH_CGROUP',
    kind: 'environment',
    what: 'no control group that can limit block I/O was found',
    where: dirname(first ?? second ?? '/sys/fs/cgroup/.'),
    next: 'run with --settings free, or on a kernel with CONFIG_BLK_DEV_THROTTLING',
  });
}

/** The group of this process, under the controller's mount point. */
function ownGroup(controller: string): string {
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').split('\n')) {
    const [, controllers = '', ...path] = line.split(':');
    if (path.length > 0 && controllers.split(',').includes(controller)) return path.join(':');
  }
  return '/';
}

async function insideOf<T>(tasks: string, before: string, body: () => Promise<T>): Promise<T> {
  writeFileSync(tasks, String(process.pid));
  try {
    return await body();
  } finally {
    writeFileSync(before, String(process.pid));
  }
}

function mountPoint(type: string, option: string): string | undefined {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, where, kind, options] = line.split(' ');
    if (kind === type && (option === '' || options?.split(',').includes(option))) return where;
  }
  return undefined;
}
