/** The page cache of single files: ask to drop it, and see what stays. Works without root. */
import koffi from 'koffi';
import { PAGE_SIZE } from '../base/brands.ts';
import { libc } from './libc.ts';

const POSIX_FADV_DONTNEED = 4;
const RWF_NOWAIT = 8;

const posixFadvise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
koffi.struct('winnow_iovec', { base: 'void *', length: 'size_t' });
const preadv2 = libc.func(
  'long preadv2(int fd, const winnow_iovec *vectors, int count, int64_t offset, int flags)',
);

const oneByte = { base: Buffer.alloc(1), length: 1 };

/**
 * Asks the kernel to drop the clean, unmapped pages of an open file. Pages that a process has mapped
 * stay. Returns the errno name of a failure.
 */
export function dropPages(fd: number): string | undefined {
  const error: number = posixFadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  return error === 0 ? undefined : `errno ${error}`;
}

/**
 * Whether a page of an open file is in memory, without reading it in. Undefined where the file system
 * cannot tell (no RWF_NOWAIT), or the page lies past the end.
 */
export function isResident(fd: number, page: number): boolean | undefined {
  const got: number = preadv2(fd, oneByte, 1, page * PAGE_SIZE, RWF_NOWAIT);
  if (got === 1) return true;
  if (got === 0) return undefined;
  // By number: EWOULDBLOCK has the same one, so its name is not sure.
  return koffi.errno() === koffi.os.errno.EAGAIN ? false : undefined;
}
