import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { deviceNumbers, deviceTraits } from './device.ts';

const sysfs = mkdtempSync(join(tmpdir(), 'winnow-sysfs-'));
afterAll(() => rmSync(sysfs, { recursive: true, force: true }));

const dev = (major: bigint, minor: bigint): bigint =>
  ((major & 0xfffn) << 8n) | ((major & ~0xfffn) << 32n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n);

function disk(numbers: string, at: string, queue: Readonly<Record<string, number>>, part = ''): void {
  const device = join(sysfs, 'devices', at);
  mkdirSync(join(device, 'queue'), { recursive: true });
  mkdirSync(join(device, part), { recursive: true });
  for (const [name, value] of Object.entries(queue)) writeFileSync(join(device, 'queue', name), `${value}\n`);
  const link = join(sysfs, 'dev', 'block', numbers);
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(join(device, part), link);
}

describe('deviceNumbers', () => {
  it('splits a st_dev as makedev(3) made it', () => {
    expect(deviceNumbers(0xfe00n)).toBe('254:0');
    expect(deviceNumbers(0x103_02n)).toBe('259:2');
    expect(deviceNumbers(dev(5000n, 70_000n))).toBe('5000:70000');
  });
});

describe('deviceTraits', () => {
  it('finds the queue of a disk, and of the disk of a partition', () => {
    disk('259:0', 'nvme/nvme0n1', { rotational: 0, read_ahead_kb: 128, max_sectors_kb: 1280 });
    disk('259:1', 'nvme/nvme1n1', { rotational: 0, read_ahead_kb: 512, max_sectors_kb: 256 }, 'nvme1n1p1');
    expect(deviceTraits(dev(259n, 0n), sysfs)).toEqual({
      name: 'nvme0n1',
      isRotational: false,
      chunkPages: 320,
    });
    expect(deviceTraits(dev(259n, 1n), sysfs)).toEqual({
      name: 'nvme1n1p1',
      isRotational: false,
      chunkPages: 128,
    });
  });

  it('believes disks that they turn, but not virtual ones', () => {
    disk('8:0', 'ata1/sda', { rotational: 1, read_ahead_kb: 128, max_sectors_kb: 1280 });
    disk('254:0', 'pci0/virtio1/block/vda', { rotational: 1, read_ahead_kb: 128, max_sectors_kb: 1280 });
    expect(deviceTraits(dev(8n, 0n), sysfs).isRotational).toBe(true);
    expect(deviceTraits(dev(254n, 0n), sysfs).isRotational).toBe(false);
    disk('7:3', 'virtual/block/loop3', { rotational: 1, read_ahead_kb: 128, max_sectors_kb: 1280 });
    expect(deviceTraits(dev(7n, 3n), sysfs).isRotational).toBe(false);
  });

  it('keeps the chunk between 8 and 512 pages', () => {
    disk('8:16', 'ata2/sdb', { rotational: 0, read_ahead_kb: 0, max_sectors_kb: 4 });
    disk('8:32', 'ata3/sdc', { rotational: 0, read_ahead_kb: 65_536, max_sectors_kb: 4 });
    expect(deviceTraits(dev(8n, 16n), sysfs).chunkPages).toBe(8);
    expect(deviceTraits(dev(8n, 32n), sysfs).chunkPages).toBe(512);
  });

  it('has an answer for file systems without a device of their own', () => {
    expect(deviceTraits(dev(0n, 41n), sysfs)).toEqual({ name: '0:41', isRotational: false, chunkPages: 32 });
  });
});
