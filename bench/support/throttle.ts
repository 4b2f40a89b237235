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
  /** What a person would tell `winnow build --gap` of this device: bandwidth over requests, in pages. */
  readonly gapPages?: number;
}

export const SETTINGS: readonly Setting[] = [
  { name: 'free', title: 'unthrottled' },
  { name: '3000', title: '3000 IOPS, 125 MB/s', iops: 3000, bps: 125_000_000 },
  { name: '500', title: '500 IOPS, 100 MB/s', iops: 500, bps: 100_000_000, gapPages: 48 },
];

export interface Throttle {
  /** File to which a process writes 0 to join. */
  readonly tasks: string;
  readonly version: 1 | 2;
  set(setting: Setting): void;
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
    const folder = make(first);
    return {
      version: 1,
      tasks: join(folder, 'cgroup.procs'),
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
      return {
        version: 2,
        tasks: join(folder, 'cgroup.procs'),
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

function mountPoint(type: string, option: string): string | undefined {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, where, kind, options] = line.split(' ');
    if (kind === type && (option === '' || options?.split(',').includes(option))) return where;
  }
  return undefined;
}
