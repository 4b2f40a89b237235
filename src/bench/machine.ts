/** What a figure depends on: processor, kernel, memory, and the storage that holds the files. */
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** A block device, as far as reading from it is concerned. */
export interface Device {
  /** `major:minor`. */
  readonly number: string;
  readonly name: string;
  readonly fileSystem: string;
  readonly readAheadKib?: number;
  readonly maxRequestKib?: number;
  readonly rotational?: boolean;
  readonly scheduler?: string;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly virtual: boolean;
  readonly kernel: string;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  readonly devices: readonly Device[];
}

/** Describes this machine and the devices that hold `paths`. */
export function describeMachine(paths: readonly string[]): Machine {
  const info = textOf('/proc/cpuinfo') ?? '';
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    virtual: /^flags\s*:.*\bhypervisor\b/m.test(info),
    kernel: release(),
    memoryBytes: totalmem(),
    system: /^PRETTY_NAME="(.*)"$/m.exec(textOf('/etc/os-release') ?? '')?.[1] ?? 'unknown',
    node: process.version,
    devices: devicesOf(paths),
  };
}

/** The distinct devices that hold `paths`; a path that is missing is skipped. */
export function devicesOf(paths: readonly string[]): Device[] {
  const devices = new Map<string, Device>();
  for (const path of paths) {
    const number = deviceNumberOf(path);
    if (number !== undefined && !devices.has(number)) devices.set(number, describeDevice(number));
  }
  return [...devices.values()];
}

/** `major:minor` of the file system that holds `path`. */
function deviceNumberOf(path: string): string | undefined {
  try {
    const { dev } = statSync(path);
    // The kernel's dev_t as user space sees it (gnu_dev_major, gnu_dev_minor).
    const major = Math.floor(dev / 256) % 4096;
    const minor = (dev % 256) + Math.floor(dev / 2 ** 20) * 256;
    return `${major}:${minor}`;
  } catch {
    return undefined;
  }
}

function describeDevice(number: string): Device {
  const mount = mountOf(number);
  const folder = `/sys/dev/block/${number}`;
  // btrfs and overlay have numbers of their own that no block device has.
  if (!existsSync(folder)) return { number, name: mount.source, fileSystem: mount.type };
  const real = realpathSync(folder);
  // A partition has no queue: its disk has.
  const queue = [join(real, 'queue'), join(dirname(real), 'queue')].find((path) => existsSync(path));
  const field = (name: string): string | undefined => textOf(join(queue ?? '', name))?.trim();
  const count = (name: string): number | undefined => {
    const text = field(name);
    return text === undefined ? undefined : Number(text);
  };
  const readAheadKib = count('read_ahead_kb');
  const maxRequestKib = count('max_sectors_kb');
  const rotational = field('rotational');
  const scheduler = /\[(.*)\]/.exec(field('scheduler') ?? '')?.[1];
  return {
    number,
    name: basename(real),
    fileSystem: mount.type,
    ...(readAheadKib === undefined ? {} : { readAheadKib }),
    ...(maxRequestKib === undefined ? {} : { maxRequestKib }),
    ...(rotational === undefined ? {} : { rotational: rotational === '1' }),
    ...(scheduler === undefined ? {} : { scheduler }),
  };
}

function mountOf(number: string): { source: string; type: string } {
  for (const line of (textOf('/proc/self/mountinfo') ?? '').split('\n')) {
    const [left, right] = line.split(' - ');
    if (left?.split(' ')[2] !== number) continue;
    const [type, source] = right?.split(' ') ?? [];
    return { source: source ?? 'unknown', type: type ?? 'unknown' };
  }
  return { source: 'unknown', type: 'unknown' };
}

/**
 * Bytes read so far from a device, counted by the kernel for everybody; undefined where there is no
 * counter.
 */
export function bytesRead(device: Pick<Device, 'number'>): number | undefined {
  const text = textOf(`/sys/dev/block/${device.number}/stat`);
  if (text === undefined) return undefined;
  // Third field: sectors of 512 bytes, whatever the device's own sector size is.
  return Number(text.trim().split(/\s+/)[2]) * 512;
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
