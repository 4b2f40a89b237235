/** Descriptors of other processes, borrowed: a duplicate shares the file offset with the original. */
import type { Pid } from '../base/brands.ts';
import { lastErrno, libc } from './libc.ts';

const SYS_pidfd_open = 434;
const SYS_pidfd_getfd = 438;

const syscall3 = libc.func('long syscall(long nr, long a, long b, long c)');
const closeRaw = libc.func('int close(int fd)');
const lseekRaw = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
const pipe2Raw = libc.func('int pipe2(void *fds, int flags)');

const fcntl = libc.func('int fcntl(int fd, int command, int value)');

const O_CLOEXEC = 0o2000000;

/** A descriptor of this process; the holder closes it. */
export type Fd = number;

/** @returns undefined where the process is gone or the kernel (before 5.6) or its rules forbid it. */
export function openPidfd(process: Pid): Fd | undefined {
  const fd = Number(syscall3(SYS_pidfd_open, process, 0, 0));
  return fd < 0 ? undefined : fd;
}

/** Duplicates `fd` of the process behind `pidfd`; undefined if it is gone or forbidden. */
export function borrowFd(pidfd: Fd, fd: number): Fd | undefined {
  const borrowed = Number(syscall3(SYS_pidfd_getfd, pidfd, fd, 0));
  return borrowed < 0 ? undefined : borrowed;
}

/** Whether a descriptor of this process is open. */
export function isOpen(fd: Fd): boolean {
  const F_GETFD = 1;
  return fcntl(fd, F_GETFD, 0) >= 0;
}

/** Takes close-on-exec off a descriptor; one that is not open is left alone. */
export function keepOpen(fd: Fd): void {
  const F_SETFD = 2;
  fcntl(fd, F_SETFD, 0);
}

export const closeFd = (fd: Fd): void => void closeRaw(fd);

/** The file offset of an open file, without moving it; undefined for pipes and the like. */
export function offsetOfFd(fd: Fd): number | undefined {
  const SEEK_CUR = 1;
  const at = Number(lseekRaw(fd, 0, SEEK_CUR));
  return at < 0 ? undefined : at;
}

/** A pipe, both ends close-on-exec. */
export function openPipe(): { readonly read: Fd; readonly write: Fd } {
  const fds = Buffer.alloc(8);
  if (pipe2Raw(fds, O_CLOEXEC) !== 0) throw new Error(`pipe2: ${lastErrno()}`);
  return { read: fds.readInt32LE(0), write: fds.readInt32LE(4) };
}

/** Reads and writes of a descriptor fail with EAGAIN rather than wait. */
export function neverWait(fd: Fd): void {
  const F_SETFL = 4;
  const O_NONBLOCK = 0o4000;
  fcntl(fd, F_SETFL, O_NONBLOCK);
}

/** Asks for more room in a pipe; the kernel may refuse. */
export function widenPipe(fd: Fd, bytes: number): void {
  const F_SETPIPE_SZ = 1031;
  fcntl(fd, F_SETPIPE_SZ, bytes);
}
