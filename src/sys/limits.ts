/** Resource limits, processor affinity and address randomisation of a process. */
import type { Pid } from '../base/brands.ts';
import { libc } from './libc.ts';

const prlimitRaw = libc.func('int prlimit(int pid, int resource, const void *next, void *previous)');
const setAffinityRaw = libc.func('int sched_setaffinity(int pid, size_t size, const void *mask)');
const personality = libc.func('int personality(ulong persona)');
const getAffinityRaw = libc.func('int sched_getaffinity(int pid, size_t size, void *mask)');

/** Numbers of getrlimit(2). */
export const RLIMIT = { cpu: 0, stack: 3, core: 4, openFiles: 7, locked: 8 } as const;
/** RLIM_INFINITY: 2^64 - 1. */
export const UNLIMITED = 0xffff_ffff_ffff_ffffn;

export interface Limit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** @param process 0: this one. @returns undefined where the process is gone or may not be asked. */
export function limitOf(process: Pid | 0, resource: number): Limit | undefined {
  const found = Buffer.alloc(16);
  if (prlimitRaw(process, resource, null, found) !== 0) return undefined;
  return { soft: found.readBigUInt64LE(0), hard: found.readBigUInt64LE(8) };
}

/** Sets the soft limit, at most to the hard one; whether that was allowed. */
export function setSoftLimit(process: Pid, resource: number, soft: bigint): boolean {
  const limit = limitOf(process, resource);
  if (limit === undefined) return false;
  const next = Buffer.alloc(16);
  next.writeBigUInt64LE(soft < limit.hard ? soft : limit.hard, 0);
  next.writeBigUInt64LE(limit.hard, 8);
  return prlimitRaw(process, resource, next, null) === 0;
}

// 8192 processors: what the kernel can be built for.
const MASK_BYTES = 1024;

/** The processors that this process may run on, ascending; empty where the kernel does not say. */
export function allowedProcessors(): number[] {
  const mask = Buffer.alloc(MASK_BYTES);
  if (getAffinityRaw(0, mask.length, mask) < 0) return [];
  const found: number[] = [];
  for (let cpu = 0; cpu < MASK_BYTES * 8; cpu++) {
    if ((mask.readUInt8(cpu >> 3) & (1 << (cpu & 7))) !== 0) found.push(cpu);
  }
  return found;
}

/** Lets a process run on one processor alone; whether that was allowed. */
export function pinTo(process: Pid, cpu: number): boolean {
  const mask = Buffer.alloc(MASK_BYTES);
  mask.writeUInt8(1 << (cpu & 7), cpu >> 3);
  return setAffinityRaw(process, mask.length, mask) === 0;
}

/** <sys/personality.h> */
const ASK = 0xffff_ffff;
const ADDR_COMPAT_LAYOUT = 0x0020_0000;
const ADDR_NO_RANDOMIZE = 0x0004_0000;

/**
 * Lets `start` begin processes whose addresses are random, in the kernel's usual layout, although this one was begun
 * without (`setarch -R`, `-L`; debuggers do that). Where the kernel refuses it they are as this one is.
 */
export function withRandomAddresses<T>(start: () => T): T {
  const own = personality(ASK);
  const wanted = own & ~(ADDR_COMPAT_LAYOUT | ADDR_NO_RANDOMIZE);
  if (own < 0 || wanted === own || personality(wanted) < 0) return start();
  try {
    return start();
  } finally {
    personality(own);
  }
}
