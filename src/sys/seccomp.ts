/**
 * seccomp's user notices (seccomp_unotify(2)): trapped calls of tracees are told to the recorder, which
 * looks at them and lets them go on.
 *
 * Why not ptrace's seccomp stops: with SYNC_WAKE_UP (Linux 6.6) the kernel hands the processor over and
 * back, which costs a sixth of a ptrace stop where the tracer sleeps on another processor; and the
 * listener can be left to a keeper, so a daemon can go on without its tracer.
 */

import { type Address, address, type Tid, tid } from '../base/brands.ts';
import type { Fd } from './fds.ts';
import { ioctl, lastErrno, libc } from './libc.ts';

const SECCOMP_IOCTL_NOTIF_SEND = 0xc0182101;
const SECCOMP_IOCTL_NOTIF_SET_FLAGS = 0x40082104;
const SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1;
const SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1;

const ioctlValue = libc.func('int ioctl(int fd, ulong request, ulong value)');

/** A trapped call; its thread waits until `letGo`. */
export interface Notice {
  readonly id: bigint;
  readonly tid: Tid;
  readonly nr: number;
  readonly ip: Address;
  readonly args: readonly [bigint, bigint, bigint, bigint, bigint, bigint];
}

/** struct seccomp_notif */
export const NOTICE_BYTES = 80;
// Views of one memory: Buffer's own writers are JavaScript, which costs here, hundreds of times a run.
const response = new Uint8Array(24);
const responseWords = new BigUint64Array(response.buffer);
const responseInts = new Uint32Array(response.buffer);

/** Asks for hand-over wake-ups; kernels before 6.6 do without. */
export function askForHandOver(listener: Fd): void {
  ioctlValue(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

/** The struct seccomp_notif at a multiple of 8 bytes; a copy. */
export function noticeIn(memory: ArrayBufferLike, at: number): Notice {
  const words = new BigUint64Array(memory, at, NOTICE_BYTES / 8);
  const ints = new Int32Array(memory, at, 6);
  const word = (index: number): bigint => words[index] ?? 0n;
  return {
    id: word(0),
    tid: tid(ints[2] ?? 0),
    nr: ints[4] ?? 0,
    ip: address(word(3)),
    args: [word(4), word(5), word(6), word(7), word(8), word(9)],
  };
}

/** Lets the call go on as if it had not been trapped. */
export function letGo(listener: Fd, id: bigint): void {
  responseWords[0] = id;
  responseInts[5] = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  // EINTR: a signal came while the kernel's lock was taken; unanswered, the thread would wait for ever.
  // ENOENT: the thread was killed meanwhile.
  while (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response) !== 0) {
    const errno = lastErrno();
    if (errno === 'EINTR') continue;
    if (errno !== 'EINVAL') return;
    throw new Error('seccomp: the kernel does not let notified calls continue (Linux 5.5 is needed)');
  }
}
