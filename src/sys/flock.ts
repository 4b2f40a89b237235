/** Advisory locks on open files. The kernel drops one when its holder dies, however it dies. */
import { lastErrno, libc } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

const flockRaw = libc.func('int flock(int fd, int operation)');

/**
 * Takes the exclusive lock of the open file, without waiting. Closing the descriptor releases it.
 *
 * @returns false where another open file description holds it.
 * @throws Error with the errno's name where the file system has no locks.
 */
export function tryLock(fd: number): boolean {
  for (;;) {
    if (flockRaw(fd, LOCK_EX | LOCK_NB) === 0) return true;
    const errno = lastErrno();
    if (errno === 'EWOULDBLOCK' || errno === 'EAGAIN') return false;
    if (errno !== 'EINTR') throw new Error(`flock: ${errno}`);
  }
}
