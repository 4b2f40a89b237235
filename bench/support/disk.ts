/**
 * A file system of our own for cold starts: an ext4 image on a loop device, mounted afresh before each
 * run, so that neither data nor directories nor inodes of it are in memory.
 *
 * The loop device reads its image with direct I/O: else the image's pages would be in the host's cache
 * and "cold" would mean a copy from memory. It lives in a private mount namespace (main.ts), so that
 * mounts vanish with the suite even when it is killed.
 */
import { existsSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import { bytesRead } from '../../src/bench/machine.ts';
import type { Cleanup } from './cleanup.ts';
import { shell, tool } from './sh.ts';

export const READ_AHEAD_KIB = 128;

export interface Disk {
  /** Where it is mounted: the root of the programs. */
  readonly root: string;
  /** `/dev/loopN`. */
  readonly device: string;
  /** `major:minor`. */
  readonly number: string;
  /** Mounts it afresh with /proc, /dev, /sys and an empty /tmp. */
  mount(how: 'ro' | 'rw'): void;
  /** Unmounts it; afterwards nothing of it is in memory. @throws when it stays busy */
  unmount(): void;
  /** Bytes read from it so far: exact, nobody else uses it. */
  bytesRead(): number;
  /** The kernel's read-ahead for it; 0 switches it off. */
  setReadAhead(kib: number): void;
}

/** Makes an empty image of `bytes` in `folder`, attaches and formats it. */
export function makeDisk(folder: string, bytes: number, cleanup: Cleanup): Disk {
  const image = join(folder, 'disk.img');
  const root = join(folder, 'root');
  mkdirSync(root);
  writeFileSync(image, '');
  truncateSync(image, bytes);
  // Everything is initialised now: else a kernel thread does it later, amid the measurement.
  tool('mkfs.ext4', '-q', '-F', '-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image);
  const device = tool('losetup', '--find', '--show', '--direct-io=on', image).trim();
  cleanup.defer(`detach ${device}`, () => {
    tool('losetup', '--detach', device);
  });
  const name = basename(device);
  const direct = tool('losetup', '--noheadings', '--raw', '--output', 'DIO', device).trim();
  if (direct !== '1')
    throw notCold(device, 'the loop device has no direct I/O, so its image stays in memory');
  const number = tool('lsblk', '--noheadings', '--raw', '--output', 'MAJ:MIN', device).trim();
  const setReadAhead = (kib: number): void =>
    writeFileSync(`/sys/block/${name}/queue/read_ahead_kb`, String(kib));
  setReadAhead(READ_AHEAD_KIB);

  let mounted = false;
  const unmount = (): void => {
    if (!mounted) return;
    // A process that is just ending can hold it for a moment.
    shell(
      'for i in 1 2 3 4 5 6 7 8 9; do umount -R "$1" 2>/dev/null && exit 0; sleep 0.1; done; umount -R "$1"',
      root,
    );
    mounted = false;
    waitUntilReleased(name);
  };
  cleanup.defer(`unmount ${root}`, unmount);
  return {
    root,
    device,
    number,
    unmount,
    setReadAhead,
    mount(how) {
      unmount();
      tool('mount', '-t', 'ext4', '-o', how, device, root);
      mounted = true;
      if (how === 'rw') shell('cd "$1"; mkdir -p proc dev sys tmp', root);
      shell(MOUNT_KERNEL_FOLDERS, root);
    },
    bytesRead() {
      const bytes = bytesRead({ number });
      if (bytes === undefined) throw notCold(device, 'the kernel does not count what is read from it');
      return bytes;
    },
  };
}

const MOUNT_KERNEL_FOLDERS = `cd "$1"
mount --bind /proc proc; mount --bind /dev dev; mount --bind /sys sys
mount -t tmpfs -o mode=1777 tmpfs dev/shm; mount -t tmpfs -o mode=1777 tmpfs tmp`;

/** A mount that still has users elsewhere keeps its superblock, and its cache with it. */
function waitUntilReleased(name: string): void {
  for (let i = 0; i < 200; i += 1) {
    if (!existsSync(`/sys/fs/ext4/${name}`)) return;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
  throw notCold(`/dev/${name}`, 'it was unmounted and is still in use: another mount namespace may hold it');
}

function notCold(where: string, what: string): WinnowError {
  return new WinnowError({
    code: 'E_BENCH_NOT_COLD',
    kind: 'environment',
    what,
    where,
    next: 'cold starts cannot be measured here; use a virtual machine of your own',
  });
}
