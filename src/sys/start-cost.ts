/** How long a dynamic loader takes to link a program, and what it leaves behind: `runtime/start-cost.c`, and what it prints. */
import { spawnSync } from 'node:child_process';
import type { Rva, UserAddress } from '../base/brands.ts';
import { runtimeFile } from './runtime.ts';

export interface StartCost {
  /** From execve to the loader's first instruction. */
  readonly execNs: number;
  /** From there until everything is mapped and relocated. */
  readonly linkNs: number;
  /** Lines of /proc/PID/maps then, without [vsyscall]. */
  readonly mappings: number;
  /** 4 KiB pages of files' private mappings that are no longer the file's. */
  readonly privateFilePages: number;
  /** 4 KiB pages without a file: stack, heap, .bss. */
  readonly anonymousPages: number;
  /** Where the lowest page of each file is mapped, by path. */
  readonly files: ReadonlyMap<string, number>;
}

/** In the dynamic loader, wherever it is mapped; or an address. */
export type LinkedAt = { readonly rva: Rva } | { readonly address: UserAddress };

export interface StartRequest {
  readonly program: string;
  /** argv[0] first. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where the loader goes on when all is relocated, before constructors. */
  readonly at: LinkedAt;
}

const LONGEST_MS = 60_000;

/** One start, which ends before the program's first constructor. Undefined where it cannot be traced. */
export function measureStart({ program, argv, env, at }: StartRequest): StartCost | undefined {
  const where = 'rva' in at ? at.rva.toString(16) : `@${at.address.toString(16)}`;
  const done = spawnSync(runtimeFile('start-cost'), [where, program, ...argv], {
    encoding: 'utf8',
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: LONGEST_MS,
    maxBuffer: 1 << 26,
  });
  return done.status === 0 ? parseStartCost(done.stdout) : undefined;
}

export interface TouchedPages {
  /** 4 KiB pages of a file's private mappings that are no longer the file's, at the program's end. */
  readonly own: number;
  /** Those of them, at most, that were read or written since all was relocated, by the program or by the kernel for it. */
  readonly touched: number;
}

/**
 * Runs the program to its end. Undefined where it cannot be traced, or its end is not seen.
 * @param file whose mappings are looked at.
 */
export function measureTouched(
  { program, argv, env }: Omit<StartRequest, 'at'>,
  at: Rva,
  file: string,
): TouchedPages | undefined {
  const done = spawnSync(runtimeFile('start-cost'), [`+${at.toString(16)}`, program, ...argv], {
    encoding: 'utf8',
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: LONGEST_MS,
    maxBuffer: 1 << 26,
  });
  return done.status === 0 ? parseTouched(done.stdout, file) : undefined;
}

/** Of what start-cost prints, the mappings of one file. */
export function parseTouched(text: string, file: string): TouchedPages {
  let [own, touched, referenced, isIts] = [0, 0, 0, false];
  for (const line of text.split('\n')) {
    const path = /^[0-9a-f]+-[0-9a-f]+ \S{4} \S+ \S+ \d+ *(.*)$/.exec(line)?.[1];
    if (path !== undefined) isIts = path === file;
    const [, name, kib] = /^(Anonymous|Referenced):\s+(\d+) kB/.exec(line) ?? [];
    if (!isIts || kib === undefined) continue;
    const pages = Number(kib) / 4;
    if (name === 'Referenced') referenced = pages;
    else {
      own += pages;
      // A mapping may show pages of the file beside its own, and does not tell which were touched.
      touched += Math.min(referenced, pages);
    }
  }
  return { own, touched };
}

/** What start-cost prints. */
export function parseStartCost(text: string): StartCost | undefined {
  const [, execNs, linkNs, written] = /^(\d+) (\d+) ([01])\n/.exec(text) ?? [];
  if (execNs === undefined || linkNs === undefined) return undefined;
  let mappings = 0;
  let privateFilePages = 0;
  let anonymousPages = 0;
  let isFile = false;
  const files = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, start = '', inode, path = ''] =
      /^([0-9a-f]+)-[0-9a-f]+ \S{4} \S+ \S+ (\d+) *(.*)$/.exec(line) ?? [];
    if (inode !== undefined) {
      isFile = inode !== '0';
      if (path !== '[vsyscall]') mappings++;
      if (isFile && !files.has(path)) files.set(path, Number.parseInt(start, 16));
      continue;
    }
    const pages = Number(/^Anonymous:\s+(\d+) kB/.exec(line)?.[1] ?? 0) / 4;
    if (isFile) privateFilePages += pages;
    else anonymousPages += pages;
  }
  // A page of the loader's code, to stop it.
  privateFilePages -= Number(written);
  const times = { execNs: Number(execNs), linkNs: Number(linkNs) };
  return { ...times, mappings, privateFilePages, anonymousPages, files };
}
