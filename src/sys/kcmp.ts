/** kcmp(2): whether two processes share something in the kernel. */
import type { Pid, Tid } from '../base/brands.ts';
import type { Fd } from './fds.ts';
import { libc } from './libc.ts';

const SYS_kcmp = 312;
const KCMP_FILE = 0;
const KCMP_VM = 1;

const syscall5 = libc.func('long syscall(long nr, long a, long b, long c, long d, long e)');

/**
 * Whether both run in one memory (CLONE_VM); false too where one of them is gone, or the kernel was built without
 * the call.
 */
export const shareMemory = (a: Pid, b: Pid): boolean => Number(syscall5(SYS_kcmp, a, b, KCMP_VM, 0, 0)) === 0;

/**
 * Whether a descriptor of ours and one of another process are the same open file; undefined where the
 * kernel does not say.
 */
export function isSameOpenFile(ours: Fd, thread: Tid, theirs: number): boolean | undefined {
  const order = Number(syscall5(SYS_kcmp, process.pid, thread, KCMP_FILE, ours, theirs));
  return order < 0 ? undefined : order === 0;
}
