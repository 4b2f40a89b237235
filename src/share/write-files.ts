/** Files of an image, complete on the disk when they are written, with the modes that they are to have whatever the umask. */
import {
  chmodSync,
  chownSync,
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { PAGE_SIZE } from '../base/brands.ts';

/** Pages of zeros become holes. */
export function writeFile(path: string, parts: readonly Uint8Array[], mode: number): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    let start = 0;
    for (const bytes of parts) {
      for (const [from, to] of filledRanges(bytes))
        for (let at = from; at < to; ) at += writeSync(fd, bytes, at, to - at, start + at);
      start += bytes.length;
    }
    ftruncateSync(fd, start);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  // Whatever the umask.
  chmodSync(path, mode);
}

const ZERO_PAGE = Buffer.alloc(PAGE_SIZE);

/** Stretches of pages that are not all zeros. */
function filledRanges(bytes: Uint8Array): [from: number, to: number][] {
  const ranges: [number, number][] = [];
  for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
    const end = Math.min(at + PAGE_SIZE, bytes.length);
    if (ZERO_PAGE.compare(bytes, at, end, 0, end - at) === 0) continue;
    const last = ranges.at(-1);
    if (last?.[1] === at) last[1] = end;
    else ranges.push([at, end]);
  }
  return ranges;
}

/** The copy can be executed by whoever could the original; who finds it is up to the image's folder, or to a mount. */
export function writeCopy(path: string, bytes: Uint8Array, original: string): void {
  writeFile(path, [bytes], 0o600);
  const fd = openSync(original, 'r');
  try {
    const { mode, uid, gid, atime, mtime } = fstatSync(fd);
    // Whoever owns the copy could change it, so only root's stays with its owner.
    if (uid === 0 && process.geteuid?.() === 0) chownSync(path, uid, gid);
    chmodSync(path, 0o600 | (mode & 0o555));
    utimesSync(path, atime, mtime);
  } finally {
    closeSync(fd);
  }
}
