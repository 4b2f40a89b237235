/** Writes a copy: pages of zeros become holes, and each other page is a write of its own (select/module-work.ts tells why). */
import { chmodSync, closeSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { PAGE_SIZE } from '../../base/brands.ts';

const ZEROS = Buffer.alloc(PAGE_SIZE);

export function writeCopy(path: string, bytes: Uint8Array, mode: number): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    ftruncateSync(fd, bytes.length);
    for (let page = 0; page < bytes.length; page += PAGE_SIZE) {
      const end = Math.min(page + PAGE_SIZE, bytes.length);
      if (ZEROS.compare(bytes, page, end, 0, end - page) === 0) continue;
      for (let at = page; at < end; ) at += writeSync(fd, bytes, at, end - at, at);
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  // Whatever the umask.
  chmodSync(path, mode);
}
