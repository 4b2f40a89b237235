/** How long a dynamic loader takes to link a program, and what it leaves behind: `runtime/start-cost.c`, and what it prints. */
import { spawnSync } from 'node:child_process';
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
}

export interface StartRequest {
  readonly program: string;
  /** argv[0] first. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** RVA in the loader of where it goes on when all is relocated, before constructors. */
  readonly at: number;
}

const LONGEST_MS = 60_000;

/** One start, which ends before the program's first constructor. Undefined where it cannot be traced. */
export function measureStart({ program, argv, env, at }: StartRequest): StartCost | undefined {
  const done = spawnSync(runtimeFile('start-cost'), [at.toString(16), program, ...argv], {
    encoding: 'utf8',
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: LONGEST_MS,
    maxBuffer: 1 << 26,
  });
  return done.status === 0 ? parseStartCost(done.stdout) : undefined;
}

/** What start-cost prints. */
export function parseStartCost(text: string): StartCost | undefined {
  const [, execNs, linkNs] = /^(\d+) (\d+)\n/.exec(text) ?? [];
  if (execNs === undefined || linkNs === undefined) return undefined;
  let mappings = 0;
  let privateFilePages = 0;
  let anonymousPages = 0;
  let isFile = false;
  for (const line of text.split('\n')) {
    const head = /^[0-9a-f]+-[0-9a-f]+ \S{4} \S+ \S+ (\d+) *(.*)$/.exec(line);
    if (head !== null) {
      isFile = head[1] !== '0';
      if (head[2] !== '[vsyscall]') mappings++;
      continue;
    }
    const pages = Number(/^Anonymous:\s+(\d+) kB/.exec(line)?.[1] ?? 0) / 4;
    if (isFile) privateFilePages += pages;
    else anonymousPages += pages;
  }
  // The breakpoint made a page of the loader's code private.
  privateFilePages = Math.max(0, privateFilePages - 1);
  return { execNs: Number(execNs), linkNs: Number(linkNs), mappings, privateFilePages, anonymousPages };
}
