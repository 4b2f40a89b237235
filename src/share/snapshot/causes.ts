/**
 * Why a word may differ between two runs of a loader: the whole catalogue.
 *
 * Each cause has a test on the word's values, one for each run, against what is known of that run: its arguments,
 * its auxiliary vector, its thread id. A word whose values merely look plausible has no cause, and then the program has
 * no image. Pointers into an anchor are no part of the catalogue (compare.ts).
 */
import type { FixUpKind } from '../model.ts';

/** What is known of one run. Addresses are those of that run. */
export interface RunFacts {
  readonly argc: number;
  readonly argv: number;
  readonly envp: number;
  readonly auxv: number;
  readonly stackStart: number;
  /** AT_RANDOM, and the 16 bytes there. */
  readonly random: number;
  readonly randomBytes: Buffer;
  readonly platform: number;
  readonly execfn: number;
  /** What brk(0) said. */
  readonly break: number;
  readonly tid: number;
  readonly hwcap: number;
  readonly stackLimit: bigint;
  /** Initial APIC id of the processor that the run was bound to; undefined where it is not known. */
  readonly apicId: number | undefined;
  /** Nanoseconds of one clock: after exec, and at the breakpoint. */
  readonly execAt: bigint;
  readonly stoppedAt: bigint;
}

/** Some bytes of one place in all runs. */
export interface Word {
  /** @param at bytes from the word on. */
  u32(run: number, at?: number): number;
  u64(run: number): bigint;
  /** Whether it stands in the loader's own memory. */
  readonly inLoader: boolean;
  /** Bytes from the thread pointer, where it stands in the same anchor. */
  readonly fromThreadPointer: number | undefined;
  readonly isTid: boolean;
  readonly inRseq: boolean;
}

export interface Cause {
  readonly name: string;
  readonly size: 4 | 8;
  /** What the word is, and why it differs. */
  readonly why: string;
  /** How it is told from any other word. */
  readonly recognised: string;
  /** What a start does with it: writes it anew, or leaves the reference run's value. */
  readonly launcher: FixUpKind | 'keeps its value';
  /** Why a stale value does no harm. */
  readonly harmless?: string;
  /** How many such words a loader has; one more has no cause. */
  readonly most?: number;
  matches(word: Word, facts: readonly RunFacts[]): boolean;
}

const TLS_STACK_GUARD = 0x28;
const TLS_POINTER_GUARD = 0x30;

const everyRun = (facts: readonly RunFacts[], holds: (run: RunFacts, index: number) => boolean): boolean =>
  facts.length > 0 && facts.every(holds);

/** A pointer onto the stack, or a figure from there, that is known to the byte. */
const known =
  (value: (run: RunFacts) => number | bigint) =>
  (word: Word, facts: readonly RunFacts[]): boolean =>
    everyRun(facts, (run, index) => word.u64(index) === BigInt(value(run)));

const stackGuard = ({ randomBytes }: RunFacts): bigint => randomBytes.readBigUInt64LE(0) & ~0xffn;
const pointerGuard = ({ randomBytes }: RunFacts): bigint => randomBytes.readBigUInt64LE(8);

/** glibc's default size of a thread's stack: the limit, rounded up to pages; 2 MiB where there is none. */
function threadStack({ stackLimit }: RunFacts): bigint {
  const UNLIMITED = 0xffff_ffff_ffff_ffffn;
  if (stackLimit === UNLIMITED) return 2n << 20n;
  return ((stackLimit + 4095n) / 4096n) * 4096n;
}

/** Faster than any processor's time-stamp counter, in counts a nanosecond; and slower. */
const MOST_PER_NS = 10;
const LEAST_PER_NS = 0.1;

/** Whether values rise from run to run as one clock does that ticks evenly. */
function isClock(word: Word, facts: readonly RunFacts[]): boolean {
  let least = LEAST_PER_NS;
  let most = MOST_PER_NS;
  for (const [j, later] of facts.entries()) {
    for (const [i, earlier] of facts.slice(0, j).entries()) {
      const counted = Number(word.u64(j) - word.u64(i));
      // It was read some time between exec and the breakpoint.
      least = Math.max(least, counted / Number(later.stoppedAt - earlier.execAt));
      most = Math.min(most, counted / Math.max(1, Number(later.execAt - earlier.stoppedAt)));
    }
  }
  return facts.length > 1 && least <= most;
}

/** What no loader is done in: small numbers are counts of something else. */
const LEAST_CYCLES = 4096n;

/** Whether values are no more than a counter can count from exec to the breakpoint. */
const isDuration = (word: Word, facts: readonly RunFacts[]): boolean =>
  everyRun(facts, ({ execAt, stoppedAt }, index) => {
    const value = word.u64(index);
    return value >= LEAST_CYCLES && Number(value) < Number(stoppedAt - execAt) * MOST_PER_NS;
  });

const onStack = 'equals that address in each run';

/** In the order in which a word is asked: what is certain comes first. */
export const CAUSES: readonly Cause[] = [
  {
    name: 'stack guard',
    size: 8,
    why: 'the canary that functions check when they return, from the kernel’s random bytes',
    recognised: 'stands at %fs:0x28 and equals the first 8 bytes at AT_RANDOM, the lowest byte zero',
    launcher: 'stack-guard',
    matches: (word, facts) => word.fromThreadPointer === TLS_STACK_GUARD && known(stackGuard)(word, facts),
  },
  {
    name: 'pointer guard',
    size: 8,
    why: 'what setjmp and atexit mix into the pointers that they keep; the loader has a copy',
    recognised: 'stands at %fs:0x30 or in the loader and equals the second 8 bytes at AT_RANDOM',
    launcher: 'pointer-guard',
    matches: (word, facts) =>
      (word.inLoader || word.fromThreadPointer === TLS_POINTER_GUARD) && known(pointerGuard)(word, facts),
  },
  {
    name: 'number of arguments',
    size: 4,
    why: '_dl_argc',
    recognised: 'stands in the loader and equals argc in each run',
    launcher: 'argc',
    matches: (word, facts) => word.inLoader && everyRun(facts, ({ argc }, run) => word.u32(run) === argc),
  },
  {
    name: 'arguments',
    size: 8,
    why: '_dl_argv: the address of argv',
    recognised: onStack,
    launcher: 'argv',
    matches: known(({ argv }) => argv),
  },
  {
    name: 'environment',
    size: 8,
    why: 'environ: the address of the environment',
    recognised: onStack,
    launcher: 'envp',
    matches: known(({ envp }) => envp),
  },
  {
    name: 'auxiliary vector',
    size: 8,
    why: '_dl_auxv, for getauxval',
    recognised: onStack,
    launcher: 'auxv',
    matches: known(({ auxv }) => auxv),
  },
  {
    name: 'random bytes',
    size: 8,
    why: '_dl_random: the value of AT_RANDOM',
    recognised: onStack,
    launcher: 'random',
    matches: known(({ random }) => random),
  },
  {
    name: 'platform',
    size: 8,
    why: '_dl_platform: the value of AT_PLATFORM',
    recognised: onStack,
    launcher: 'platform',
    matches: known(({ platform }) => platform),
  },
  {
    name: 'name of the program',
    size: 8,
    why: 'the value of AT_EXECFN',
    recognised: onStack,
    launcher: 'execfn',
    matches: known(({ execfn }) => execfn),
  },
  {
    name: 'start of the stack',
    size: 8,
    why: '__libc_stack_end, and the size of the first thread’s stack, which glibc takes to be its address',
    recognised: 'equals the stack pointer at the program’s entry in each run',
    launcher: 'stack-start',
    matches: known(({ stackStart }) => stackStart),
  },
  {
    name: 'break',
    size: 8,
    why: '__curbrk: where the heap begins',
    recognised: 'equals what brk(0) said in each run',
    launcher: 'break',
    matches: known((run) => run.break),
  },
  {
    name: 'thread id',
    size: 4,
    why: 'the first thread’s id in its descriptor',
    recognised: 'stands where set_tid_address was told, and equals what it said',
    launcher: 'tid',
    matches: (word, facts) => word.isTid && everyRun(facts, ({ tid }, run) => word.u32(run) === tid),
  },
  {
    name: 'number of the processor',
    size: 4,
    why: 'the loader keeps what cpuid 1 says; the highest byte of ebx is the APIC id of the processor it ran on',
    recognised:
      'stands in the loader, ecx and edx behind it, edx equals AT_HWCAP, and the highest byte is the processor’s APIC id',
    launcher: 'cpu-number',
    matches: (word, facts) =>
      word.inLoader &&
      everyRun(facts, ({ apicId, hwcap }, run) => {
        const value = word.u32(run);
        if (word.u32(run, 8) !== hwcap || ((value ^ word.u32(0)) & 0xffffff) !== 0) return false;
        return apicId === undefined || value >>> 24 === (apicId & 0xff);
      }),
  },
  {
    name: 'processor of the thread',
    size: 4,
    why: 'struct rseq: the processor and NUMA node that the thread runs on',
    recognised: 'stands in the area that rseq was told',
    launcher: 'keeps its value',
    harmless: 'the kernel writes it anew when the area is registered at each start',
    matches: (word) => word.inRseq,
  },
  {
    name: 'size of threads’ stacks',
    size: 8,
    why: 'the default size of a thread’s stack follows from RLIMIT_STACK',
    recognised: 'equals the limit of each run, rounded up to pages',
    launcher: 'thread-stack',
    matches: known(threadStack),
  },
  {
    name: 'time of the loader’s start',
    size: 8,
    why: 'the time-stamp counter when the loader began, for LD_DEBUG=statistics',
    recognised: 'stands in the loader and rises from run to run as an even clock between their times',
    launcher: 'keeps its value',
    harmless: 'only read under LD_DEBUG=statistics, which starts the plain loader',
    most: 1,
    matches: (word, facts) => word.inLoader && isClock(word, facts),
  },
  {
    name: 'time taken by the loader',
    size: 8,
    why: 'cycles that loading and relocating took, for LD_DEBUG=statistics',
    recognised: 'stands in the loader and is less than the run can have counted',
    launcher: 'keeps its value',
    harmless: 'only read under LD_DEBUG=statistics, which starts the plain loader',
    most: 2,
    matches: (word, facts) => word.inLoader && isDuration(word, facts),
  },
];
