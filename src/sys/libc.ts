/**
 * The C library of this process, for the rooms' system calls. Only `src/sys` imports koffi.
 *
 * Calls are synchronous: ptrace is bound to the OS thread that attached, so koffi's `.async` is never
 * used here.
 */
import koffi from 'koffi';

export const libc = koffi.load(null);

const errnoNames = new Map<number, string>(
  Object.entries(koffi.os.errno).map(([name, value]) => [Number(value), name]),
);

/** `ENOENT` for 2. */
export const errnoName = (value: number): string => errnoNames.get(value) ?? `errno ${value}`;

/** The errno of the last failed call on this thread, as its name (`ENOENT`). */
export const lastErrno = (): string => errnoName(koffi.errno());

/** ioctl(2) with a buffer as its argument. */
export const ioctl = libc.func('int ioctl(int fd, ulong request, void *arg)');
/** poll(2); `fds` holds struct pollfd, 8 bytes each. */
export const poll = libc.func('int poll(void *fds, unsigned long count, int timeout)');
