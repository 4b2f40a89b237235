/** The auxiliary vector, and where it and its neighbours stand on the stack at a program's entry. */
import { readFileSync } from 'node:fs';
import type { Pid } from '../../base/brands.ts';
import type { TraceeMemory } from './tracee-memory.ts';

/** Types of getauxval(3). */
export const AT = {
  phdr: 3,
  phnum: 5,
  pageSize: 6,
  base: 7,
  entry: 9,
  platform: 15,
  hwcap: 16,
  clockTick: 17,
  secure: 23,
  random: 25,
  hwcap2: 26,
  execfn: 31,
  vdso: 33,
  minsigstksz: 51,
} as const;

export type Auxv = ReadonlyMap<number, bigint>;

export function readAuxv(process: Pid): Auxv {
  const bytes = readFileSync(`/proc/${process}/auxv`);
  const found = new Map<number, bigint>();
  for (let at = 0; at + 16 <= bytes.length; at += 16) {
    found.set(Number(bytes.readBigUInt64LE(at)), bytes.readBigUInt64LE(at + 8));
  }
  return found;
}

/** Addresses on the stack as the kernel made it. */
export interface InitialStack {
  /** The stack pointer: where argc stands. */
  readonly start: number;
  readonly argc: number;
  /** Of argv[0]'s pointer. */
  readonly argv: number;
  /** Of the environment's first pointer. */
  readonly envp: number;
  readonly auxv: number;
}

export function readInitialStack(memory: TraceeMemory, start: number): InitialStack {
  const argc = Number(memory.word(start));
  const argv = start + 8;
  const envp = argv + 8 * (argc + 1);
  let auxv = envp;
  while (memory.word(auxv) !== 0n) auxv += 8;
  return { start, argc, argv, envp, auxv: auxv + 8 };
}
