/** What the kernel says of the device under a file. */
import { readFileSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { PAGE_SIZE } from '../base/brands.ts';

export interface DeviceTraits {
  /** `vda1`; `0:41` where the file system has no device of its own. */
  readonly name: string;
  /** It has a head that moves. */
  readonly isRotational: boolean;
  /** Pages that one readahead call may ask for; the kernel drops what is more without a word. */
  readonly chunkPages: number;
}

const CHUNK_LEAST = 8;
const CHUNK_MOST = 512;
/** The kernel's default read_ahead_kb. */
const READ_AHEAD_KB = 128;

function readNumber(path: string): number | undefined {
  try {
    const value = Number(readFileSync(path, 'latin1').trim());
    return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  } catch {
    return undefined;
  }
}

/** `MAJOR:MINOR` of a `st_dev`, in the encoding of the C library (makedev(3)). */
export function deviceNumbers(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/**
 * Disks of virtual machines: most hosts let them say that they turn, whatever they are made of. Loop
 * devices repeat what the disk under their file says.
 */
const VIRTUAL = /\/(?:virtio\d+|vbd-\d+)\/|\/virtual\/block\/loop/;

/** Where the kernel has the device; undefined for none. */
function placeOf(block: string): string | undefined {
  try {
    return realpathSync(block);
  } catch {
    return undefined;
  }
}

/** @param sysfs another root of /sys, for tests. */
export function deviceTraits(dev: bigint, sysfs = '/sys'): DeviceTraits {
  const numbers = deviceNumbers(dev);
  const block = join(sysfs, 'dev', 'block', numbers);
  // A partition has no queue of its own: the link leads into its disk's folder. `join` would cut the
  // dots off the link's name, not follow it.
  const queue = (name: string): number | undefined =>
    readNumber(`${block}/queue/${name}`) ?? readNumber(`${block}/../queue/${name}`);
  // File systems over several devices (btrfs, overlay) have a number without a block device.
  const readAhead =
    queue('read_ahead_kb') ?? readNumber(join(sysfs, 'class', 'bdi', numbers, 'read_ahead_kb'));
  const kilobytes = Math.max(readAhead ?? READ_AHEAD_KB, queue('max_sectors_kb') ?? 0);
  const chunk = Math.floor((kilobytes * 1024) / PAGE_SIZE);
  const place = placeOf(block);
  return {
    name: place === undefined ? numbers : basename(place),
    isRotational: queue('rotational') === 1 && !VIRTUAL.test(place ?? ''),
    chunkPages: Math.min(Math.max(chunk, CHUNK_LEAST), CHUNK_MOST),
  };
}
