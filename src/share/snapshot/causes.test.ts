/** The catalogue of causes: each knows its word by the values of all runs, and no other; each occurs, or is shown to be needed. */
import { afterAll, describe, expect, it } from 'vitest';
import { comparedWithFreshRun, linked, SnapshotScene } from '../../../test/support/snapshot-scene.ts';
import { allowedProcessors } from '../../sys/limits.ts';
import type { LinkedState } from '../model.ts';
import { CAUSES, type Cause, type RunFacts, type Word } from './causes.ts';

const scene = new SnapshotScene();
afterAll(() => scene.remove());

const MS = 1_000_000n;

function factsOf(run: number): RunFacts {
  const stack = 0x7ffc_0000_0000 + run * 0x1_2345_6010;
  return {
    argc: 7 + 17 * run,
    stackStart: stack,
    argv: stack + 8,
    envp: stack + 8 * (9 + 17 * run),
    auxv: stack + 8 * (90 + 40 * run),
    random: stack + 0x1009,
    randomBytes: Buffer.from(Array.from({ length: 16 }, (_, i) => (i * 37 + run * 91 + 5) & 0xff)),
    platform: stack + 0x1019,
    execfn: stack + 0x1fe0,
    break: 0x5600_0000_0000 + run * 0x1234_5000,
    tid: 4000 + 7 * run,
    hwcap: 0x178bfbff,
    stackLimit: BigInt((8 << 20) - 5000 * run),
    apicId: run,
    execAt: BigInt(run) * 30n * MS,
    stoppedAt: BigInt(run) * 30n * MS + 10n * MS,
  };
}
const FACTS = [0, 1, 2].map(factsOf);

/** What a word of each cause holds in a run, and where it stands. */
const HOLDS: Readonly<
  Record<string, { readonly value: (run: RunFacts) => bigint; readonly where: Partial<Word> }>
> = {
  'stack guard': {
    value: ({ randomBytes }) => (randomBytes.readBigUInt64LE(0) >> 8n) << 8n,
    where: { fromThreadPointer: 0x28 },
  },
  'pointer guard': {
    value: ({ randomBytes }) => randomBytes.readBigUInt64LE(8),
    where: { fromThreadPointer: 0x30 },
  },
  'number of arguments': { value: ({ argc }) => BigInt(argc), where: { inLoader: true } },
  arguments: { value: ({ argv }) => BigInt(argv), where: {} },
  environment: { value: ({ envp }) => BigInt(envp), where: {} },
  'auxiliary vector': { value: ({ auxv }) => BigInt(auxv), where: {} },
  'random bytes': { value: ({ random }) => BigInt(random), where: {} },
  platform: { value: ({ platform }) => BigInt(platform), where: {} },
  'name of the program': { value: ({ execfn }) => BigInt(execfn), where: {} },
  'start of the stack': { value: ({ stackStart }) => BigInt(stackStart), where: {} },
  break: { value: (run) => BigInt(run.break), where: {} },
  'thread id': { value: ({ tid }) => BigInt(tid), where: { isTid: true } },
  'number of the processor': {
    value: ({ apicId }) => BigInt(((apicId ?? 0) << 24) | 0x20800),
    where: { inLoader: true },
  },
  'processor of the thread': { value: ({ apicId }) => BigInt(apicId ?? 0), where: { inRseq: true } },
  'size of threads’ stacks': {
    value: ({ stackLimit }) => ((stackLimit + 4095n) / 4096n) * 4096n,
    where: {},
  },
  'time of the loader’s start': {
    value: ({ execAt }) => 77_000_000_000n + (execAt * 25n) / 10n + 4000n,
    where: { inLoader: true },
  },
  'time taken by the loader': { value: ({ tid }) => BigInt(tid) * 1000n, where: { inLoader: true } },
};

/** A word with a value in each run. */
function wordOf(values: readonly bigint[], where: Partial<Word>): Word {
  const value = (run: number): bigint => values[run] ?? 0n;
  return {
    u32: (run, at = 0) => (at === 8 ? (FACTS[run]?.hwcap ?? 0) : Number(value(run) & 0xffff_ffffn)),
    u64: value,
    inLoader: false,
    fromThreadPointer: undefined,
    isTid: false,
    inRseq: false,
    ...where,
  };
}

const firstCause = (word: Word): Cause | undefined => CAUSES.find((cause) => cause.matches(word, FACTS));

describe.each(CAUSES.map((cause) => [cause.name, cause] as const))('the cause: %s', (name, cause) => {
  const held = HOLDS[name];
  const values = FACTS.map((run) => held?.value(run) ?? 0n);
  const where = held?.where ?? {};

  it('knows its word, before any other does', () => {
    expect(held).toBeDefined();
    expect(firstCause(wordOf(values, where))?.name).toBe(name);
  });

  it.skipIf(Object.keys(where).length === 0)('knows no word that stands elsewhere', () => {
    expect(cause.matches(wordOf(values, {}), FACTS)).toBe(false);
  });

  // What stands in the kernel’s area is the kernel’s, whatever it is.
  it.skipIf(where.inRseq)('knows no word that is another one in a single run', () => {
    for (const run of [0, 1, 2]) {
      const changed = values.map((value, i) => (i === run ? value ^ 0x4000_0000_0000_0001n : value));
      const low = values.map((value, i) => (i === run ? value ^ 0x10001n : value));
      expect(cause.matches(wordOf(cause.size === 8 ? changed : low, where), FACTS)).toBe(false);
    }
  });

  it('says why, how it is recognised, and why a value that stays does no harm', () => {
    expect(cause.why.length * cause.recognised.length).toBeGreaterThan(0);
    expect(cause.harmless !== undefined).toBe(cause.launcher === 'keeps its value');
  });
});

it('a clock that runs unevenly, or a count beyond what was counted, has no cause', () => {
  const start = [77_000_000_000n, 77_100_000_000n, 77_000_100_000n];
  expect(firstCause(wordOf(start, { inLoader: true }))).toBeUndefined();
  const count = [1_000_000n, 2_000_000n, 1_000_000_000_000n];
  expect(firstCause(wordOf(count, { inLoader: true }))).toBeUndefined();
  const small = [12n, 4n, 9n];
  expect(firstCause(wordOf(small, { inLoader: true }))).toBeUndefined();
});

/** A resolver that keeps all that the kernel told the program: the words that glibc itself does not keep. */
const KEEPER = `#include <elf.h>
#include <link.h>
extern void *__libc_stack_end;
long argc = -1; void *at_random = &argc, *at_execfn = &argc;
static int chosen(void) { return 0; }
static int (*resolve(void))(void) {
  long *at = __libc_stack_end;
  at += *at + 2;
  while (*at++) ;
  for (Elf64_auxv_t *v = (Elf64_auxv_t *)at; v->a_type != AT_NULL; v++) {
    if (v->a_type == AT_RANDOM) at_random = (void *)v->a_un.a_val;
    if (v->a_type == AT_EXECFN) at_execfn = (void *)v->a_un.a_val;
  }
  return chosen;
}
int f(void) __attribute__((ifunc("resolve")));
int main(void) { return f(); }`;

describe('in linked programs', () => {
  it('every cause occurs', () => {
    const keeper = linked(scene.program('keeper', KEEPER, '-Wl,-z,now', '-fno-stack-protector'));
    expect(comparedWithFreshRun(keeper).wrong).toEqual([]);
    const seen = new Set<string>(causesOf(keeper));
    const ofProcessors = ['number of the processor', 'processor of the thread'];
    for (const { name, launcher } of CAUSES) {
      if (allowedProcessors().length < 2 && ofProcessors.includes(name)) continue;
      expect(seen, name).toContain(launcher === 'keeps its value' ? name : launcher);
    }
  });
});

const causesOf = (state: LinkedState): string[] => [
  ...state.fixUps.map(({ kind }) => kind),
  ...state.leftovers.map(({ cause }) => cause),
];
