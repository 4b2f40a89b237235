/**
 * One program of /usr/bin: whether it gets an image after linking, or prelinked libraries, and whether it then does the same.
 *
 * Method: the first of a few harmless arguments for which two plain runs agree in output and exit code is the invocation.
 * Then the image is built, mounted over the program in a mount namespace, and started `STARTS` times, address-space
 * randomisation as it is; each start's output and exit code must be the plain ones. That the image is what was started is
 * shown by a breakpoint at the address where only an image has the loader's last instruction (runtime/start-cost.c). Copies of
 * libraries are shown by the audit object, and seen in the memory of a start that ends before the first constructor.
 */

import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type CountedMiss, decodeMisses } from '../../src/base/misses.ts';
import type { Sharing } from '../../src/cli/build-techniques.ts';
import { readElfFile } from '../../src/elf/read.ts';
import { buildShare } from '../../src/share/build.ts';
import { type KeptProgram, missesName, type SharedProgram } from '../../src/share/built.ts';
import { linkedAt } from '../../src/share/closure/loader-start.ts';
import { decodeLinked } from '../../src/share/linked/linked-decode.ts';
import { REFUSALS } from '../../src/share/linked/linked-layout.ts';
import { readProcessor } from '../../src/share/linked/restore-answer.ts';
import { buildPrelinked } from '../../src/share/prelinked/build.ts';
import { PRELINK_MISSES } from '../../src/share/prelinked/prelinked-layout.ts';
import { runtimeFile } from '../../src/sys/runtime.ts';
import { measureStart } from '../../src/sys/start-cost.ts';
import { ENVIRONMENT } from './programs.ts';

export type CorpusResult = {
  readonly path: string;
} /** `plain`: starts of the program, or of its children, that were not so, by their causes. */ & (
  | {
      readonly kind: 'same';
      readonly args: string;
      readonly ms: number;
      readonly plain?: Readonly<Record<string, number>>;
    }
  /** Two plain runs already differ, or none of the arguments ends the program soon: only built and started to its first constructor. */
  | { readonly kind: 'built'; readonly ms: number }
  | { readonly kind: 'kept'; readonly reason: string; readonly detail?: string }
  | { readonly kind: 'unused'; readonly why: string }
  | { readonly kind: 'wrong'; readonly args: string; readonly what: string }
);

export const STARTS = 20;
const LOADER = '/lib64/ld-linux-x86-64.so.2';
const ARGUMENTS = [['--version'], ['--help'], ['-V'], ['-v'], ['-h'], []];
const TIMEOUT_MS = 10_000;
const BUFFER = 32 << 20;

interface Outcome {
  readonly status: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param work a folder that everybody may enter; what is made in it is removed. */
export async function tryProgram(path: string, work: string, sharing: Sharing): Promise<CorpusResult> {
  const folder = mkdtempSync(join(work, 'p-'));
  try {
    return await tryIn(path, folder, sharing === 'image' ? linkedWay : prelinkedWay);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** How a program is started otherwise than plainly. */
interface Way {
  /** Milliseconds to the end of linking; words where the start is a plain one. */
  readonly started: number | string;
  readonly runOnce: (args: readonly string[], home: string) => ReturnType<typeof spawnSync>;
  /** What the image noted of plain starts. */
  readonly missed: () => readonly CountedMiss[];
  readonly causeOf: (miss: CountedMiss) => string;
}

type Build = (path: string, image: string) => Promise<Way | KeptProgram>;

async function tryIn(path: string, folder: string, build: Build): Promise<CorpusResult> {
  spawnSync('chmod', ['755', folder]);
  const image = join(folder, 'image');
  mkdirSync(image, { mode: 0o755 });
  const way = await build(path, image);
  if ('reason' in way) return { ...way, path, kind: 'kept' };
  const { started } = way;
  if (typeof started === 'string') return { path, kind: 'unused', why: started };
  const invocation = findInvocation(path, folder);
  if (invocation === undefined) return { path, kind: 'built', ms: started };
  const { args, outcome } = invocation;
  const text = args.join(' ');
  for (const [index, one] of startMany(way, args, folder).entries()) {
    const what = difference(outcome, one);
    if (what !== undefined) return { path, kind: 'wrong', args: text, what: `start ${index + 1}: ${what}` };
  }
  const plain = Object.fromEntries(way.missed().map((miss) => [way.causeOf(miss), miss.count]));
  return { path, kind: 'same', args: text, ms: started, ...(Object.keys(plain).length > 0 ? { plain } : {}) };
}

const NO_REASON: KeptProgram = { path: '', reason: 'no reason' };

async function prelinkedWay(path: string, image: string): Promise<Way | KeptProgram> {
  const object = readFileSync(runtimeFile('prelink.so'));
  const planned = { programs: [{ path }], kept: [] };
  const { programs, kept } = await buildPrelinked(planned, { folder: image, object, sharedMode: 0o055 });
  const [program] = programs;
  const at = linkedAt(readElfFile(LOADER));
  if (program === undefined || at === undefined) return kept[0] ?? NO_REASON;
  const LD_AUDIT = join(image, 'audit.so');
  const env = { ...environment(image), LD_AUDIT };
  const cost = measureStart({ program: path, argv: [path, '--version'], env, at: { rva: at } });
  const missing = program.modules.find(
    ({ copy }) => copy !== undefined && cost?.files.has(join(image, copy.file)) !== true,
  );
  return {
    started: missing === undefined && cost !== undefined ? cost.linkNs / 1e6 : 'its copies were not shown',
    runOnce: (args, home) => {
      const plain = options(home);
      return spawnSync(path, args, { ...plain, env: { ...plain.env, LD_AUDIT } });
    },
    missed: () => decodeMisses(readFileSync(join(image, 'prelink.misses'))).causes,
    causeOf: ({ what, index }) => `${PRELINK_MISSES[what - 1]?.cause ?? what} ${index}`,
  };
}

async function linkedWay(path: string, image: string): Promise<Way | KeptProgram> {
  const { programs, kept } = await buildShare(
    { programs: [{ path }], kept: [] },
    {
      folder: image,
      image,
      restore: readFileSync(runtimeFile('restore')),
      processor: readProcessor(),
      mapped: [],
      sharedMode: 0o055,
    },
  );
  const [program] = programs;
  if (program === undefined) return kept[0] ?? NO_REASON;
  return {
    started: startTime(path, image, program),
    runOnce: (args, home) => {
      // In a mount namespace in which the copy lies over the program.
      const script = 'mount --make-rslave / && mount --bind "$1" "$2" && shift && exec "$@"';
      const words = ['--mount', 'sh', '-c', script, 'sh', join(image, program.copy), path, ...args];
      return spawnSync('unshare', words, options(home));
    },
    missed: () => decodeMisses(readFileSync(join(image, missesName(program.linked)))).causes,
    causeOf: ({ what, index }) => `${REFUSALS[what] ?? what} ${index}`,
  };
}

/** Milliseconds to the end of linking; words where the start does not come from the image. */
function startTime(path: string, image: string, program: SharedProgram): number | string {
  const linked = join(image, program.linked);
  const cost = measureStart({
    program: join(image, program.copy),
    argv: [path, '--version'],
    env: environment(image),
    at: { address: decodeLinked(readFileSync(linked), linked).start },
  });
  return cost === undefined ? 'the loader itself was started' : cost.linkNs / 1e6;
}

const environment = (home: string): Record<string, string> => ({
  ...ENVIRONMENT,
  HOME: home,
  TMPDIR: home,
  TERM: 'dumb',
});

function findInvocation(path: string, folder: string) {
  for (const args of ARGUMENTS) {
    const outcome = runPlain(path, args, folder);
    if (outcome === undefined) continue;
    const again = runPlain(path, args, folder);
    if (again !== undefined && difference(outcome, again) === undefined) return { args, outcome };
  }
  return undefined;
}

/** A fresh current folder, a fresh home: undefined where it does not end by itself. */
function runPlain(path: string, args: readonly string[], folder: string): Outcome | undefined {
  return runIn(folder, (home) => spawnSync(path, args, options(home)));
}

const options = (home: string): SpawnSyncOptions => ({
  cwd: home,
  env: environment(home),
  stdio: ['ignore', 'pipe', 'pipe'],
  timeout: TIMEOUT_MS,
  maxBuffer: BUFFER,
  killSignal: 'SIGKILL',
});

function runIn(folder: string, run: (home: string) => ReturnType<typeof spawnSync>): Outcome | undefined {
  const home = join(folder, 'home');
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home);
  const done = run(home);
  if (done.error !== undefined) return undefined;
  return {
    status: String(done.status ?? done.signal),
    stdout: String(done.stdout),
    stderr: String(done.stderr),
  };
}

function startMany({ runOnce }: Way, args: readonly string[], folder: string): Outcome[] {
  const none = { status: 'did not end', stdout: '', stderr: '' };
  return Array.from({ length: STARTS }, () => runIn(folder, (home) => runOnce(args, home)) ?? none);
}

function difference(plain: Outcome, other: Outcome): string | undefined {
  if (plain.status !== other.status)
    return `ends with ${other.status} in place of ${plain.status}: ${other.stderr.slice(0, 200)}`;
  if (plain.stdout !== other.stdout) return 'writes other things to stdout';
  return plain.stderr === other.stderr
    ? undefined
    : `writes other things to stderr: ${other.stderr.slice(0, 200)}`;
}
