/**
 * How the runs of one snapshot differ. Whatever is the same in all runs cannot be told from what is always the
 * same, so each thing that a loader could learn of its surroundings is another one in each run.
 */
import { existsSync } from 'node:fs';
import type { Pid } from '../../base/brands.ts';
import { allowedProcessors, limitOf, pinTo, RLIMIT, setSoftLimit, UNLIMITED } from '../../sys/limits.ts';

export interface Circumstances {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Soft limits that the program gets, by their numbers; the first run has the caller's. */
  readonly limits: ReadonlyMap<number, bigint>;
  /** Soft RLIMIT_STACK while the kernel lays out the address space: bytes. */
  readonly stackAtExec: bigint;
  /** Undefined: wherever the kernel puts it. */
  readonly processor: number | undefined;
}

const MIB = 1n << 20n;
/** A small root has not all of the first. */
const FOLDERS = ['/', '/usr', '/etc', '/tmp', '/usr/bin', '/proc', '/proc/sys', '/proc/irq', '/proc/fs'];
const LOCALES = ['C', 'de_DE.UTF-8', 'en_US.ISO-8859-1', 'C.UTF-8', 'tr_TR', 'ja_JP.eucJP'];
/** An IFUNC resolver that never ends must not hold us for ever: seconds of processor time. */
const CPU_SECONDS = 20n;

export const DEFAULT_RUNS = 3;
export const MOST_RUNS = 6;

/**
 * The circumstances of run 0, 1, …: pairwise different in everything but LD_LIBRARY_PATH.
 *
 * @param program the path it is started by.
 */
export function circumstancesOf(
  program: string,
  run: number,
  libraryPath: string | undefined,
): Circumstances {
  const processors = allowedProcessors();
  const folders = FOLDERS.filter((path) => existsSync(path));
  const limits = new Map<number, bigint>([[RLIMIT.cpu, CPU_SECONDS]]);
  const stack = limitOf(0, RLIMIT.stack)?.soft ?? 8n * MIB;
  if (run > 0) {
    limits.set(RLIMIT.stack, otherStack(stack, run));
    limits.set(RLIMIT.openFiles, BigInt(200 + 13 * run));
    limits.set(RLIMIT.core, BigInt(run) * MIB);
    limits.set(RLIMIT.locked, BigInt(run) * 4096n);
  } else {
    limits.set(RLIMIT.stack, stack);
  }
  return {
    argv: [program, ...Array.from({ length: 6 + 17 * run }, (_, i) => `argument ${run} ${i}`)],
    env: { ...environmentOf(run), ...(libraryPath === undefined ? {} : { LD_LIBRARY_PATH: libraryPath }) },
    cwd: folders[run % folders.length] ?? '/',
    limits,
    // Without a limit the kernel would put the loader below the program (the legacy layout). The vDSO needs room there too.
    stackAtExec: 64n * MIB,
    processor: processors[run % Math.max(processors.length, 1)],
  };
}

/** Not a multiple of pages: to see what rounds it. */
const otherStack = (callers: bigint, run: number): bigint => {
  const size = 3n * MIB + BigInt(run) * 40_000n;
  return size === callers ? size + 1n * MIB : size;
};

function environmentOf(run: number): Readonly<Record<string, string>> {
  const locale = LOCALES[run % LOCALES.length] ?? 'C';
  const env: Record<string, string> = {
    HOME: `/home/someone${'x'.repeat(run * 41)}`,
    PATH: run % 2 === 0 ? '/usr/bin:/bin' : '/bin',
    TERM: `term${run}`,
    LANG: locale,
    LC_ALL: locale,
    LANGUAGE: 'xx'.repeat(run + 1),
    TZ: `UTC${run}`,
    TMPDIR: `/tmp/${run}`,
  };
  for (let i = 0; i < run * 29; i++) env[`WINNOW_FILLER_${i}`] = '.'.repeat((i * 7 + run) % 61);
  return env;
}

/** What must be set before exec. */
export function prepare(process: Pid, circumstances: Circumstances): void {
  setSoftLimit(process, RLIMIT.stack, circumstances.stackAtExec);
  if (circumstances.processor !== undefined) pinTo(process, circumstances.processor);
}

/** What must be set after it: the limits that the loader sees. @returns the soft RLIMIT_STACK it has now. */
export function applyLimits(process: Pid, circumstances: Circumstances): bigint {
  for (const [resource, soft] of circumstances.limits) setSoftLimit(process, resource, soft);
  return limitOf(process, RLIMIT.stack)?.soft ?? UNLIMITED;
}
