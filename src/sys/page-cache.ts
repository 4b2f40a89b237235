/** The page cache of single files: ask to drop it, and see what stays. */
import { fstatSync } from 'node:fs';
import { pagesIn } from '../base/brands.ts';
import { lastErrno, libc } from './libc.ts';

const POSIX_FADV_DONTNEED = 4;
const PROT_READ = 1;
const MAP_SHARED = 1;
const W_OK = 2;

const posixFadvise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
const mmap = libc.func(
  'intptr_t mmap(void *where, size_t length, int prot, int flags, int fd, int64_t offset)',
);
const munmap = libc.func('int munmap(intptr_t where, size_t length)');
const mincore = libc.func('int mincore(intptr_t where, size_t length, void *vector)');
const accessPath = libc.func('int access(const char *path, int mode)');

/**
 * Asks the kernel to drop the clean, unmapped pages of an open file. Pages that a process has mapped
 * stay. Returns the number of the error, or undefined.
 */
export function dropPages(fd: number): number | undefined {
  const error: number = posixFadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  return error === 0 ? undefined : error;
}

/**
 * One byte a page of an open file: 1 where the page is in memory. Reads nothing in. Undefined where the
 * kernel does not tell: it does to root, to the file's owner and to who may write it.
 *
 * A read with RWF_NOWAIT would work for everybody, but newer kernels start read-ahead in it.
 */
export function residentPages(fd: number): Uint8Array | undefined {
  const { size, uid } = fstatSync(fd);
  const me = process.geteuid?.() ?? -1;
  if (me !== 0 && me !== uid && accessPath(`/proc/self/fd/${fd}`, W_OK) !== 0) return undefined;
  const pages = Buffer.alloc(pagesIn(size));
  if (size === 0) return pages;
  const where: number = mmap(null, size, PROT_READ, MAP_SHARED, fd, 0);
  if (where === -1) throw new Error(`mmap: ${lastErrno()}`);
  try {
    if (mincore(where, size, pages) !== 0) throw new Error(`mincore: ${lastErrno()}`);
  } finally {
    munmap(where, size);
  }
  for (const [index, bits] of pages.entries()) pages[index] = bits & 1;
  return pages;
}
