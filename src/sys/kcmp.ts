/** kcmp(2): whether two processes share something in the kernel. */
import type { Pid } from '../base/brands.ts';
import { libc } from './libc.ts';

const SYS_kcmp = 312;
const KCMP_VM = 1;

const syscall5 = libc.func('long syscall(long nr, long a, long b, long c, long d, long e)');

/**
 * Whether both run in one memory (CLONE_VM); false too where one of them is gone, or the kernel was built without
 * the call.
 */
export const shareMemory = (a: Pid, b: Pid): boolean => Number(syscall5(SYS_kcmp, a, b, KCMP_VM, 0, 0)) === 0;
