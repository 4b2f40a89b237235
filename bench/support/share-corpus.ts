/**
 * One program of /usr/bin: whether it gets an image after linking, and whether it then does the same.
 *
 * Method: the first of a few harmless arguments for which two plain runs agree in output and exit code is the invocation.
 * Then the image is built, mounted over the program in a mount namespace, and started `STARTS` times, address-space
 * randomisation as it is; each start's output and exit code must be the plain ones. That the image is what was started is
 * shown by a breakpoint at the address where only an image has the loader's last instruction (runtime/start-cost.c).
 */

import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildShare } from '../../src/share/build.ts';
import type { SharedProgram } from '../../src/share/built.ts';
import { decodeLinked } from '../../src/share/linked/linked-decode.ts';
import { readProcessor } from '../../src/share/linked/restore-answer.ts';
import { runtimeFile } from '../../src/sys/runtime.ts';
import { measureStart } from '../../src/sys/start-cost.ts';
import { ENVIRONMENT } from './programs.ts';

export type CorpusResult = { readonly path: string } & (
  | { readonly kind: 'same'; readonly args: string; readonly ms: number }
  /** Two plain runs already differ, or none of the arguments ends the program soon: only built and started to its first constructor. */
  | { readonly kind: 'built'; readonly ms: number }
  | { readonly kind: 'kept'; readonly reason: string; readonly detail?: string }
  | { readonly kind: 'unused'; readonly why: string }
  | { readonly kind: 'wrong'; readonly args: string; readonly what: string }
);

export const STARTS = 20;
const ARGUMENTS = [['--version'], ['--help'], ['-V'], ['-v'], ['-h'], []];
const TIMEOUT_MS = 10_000;
const BUFFER = 32 << 20;

interface Outcome {
  readonly status: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param work a folder that everybody may enter; what is made in it is removed. */
export async function tryProgram(path: string, work: string): Promise<CorpusResult> {
  const folder = mkdtempSync(join(work, 'p-'));
  try {
    return await tryIn(path, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function tryIn(path: string, folder: string): Promise<CorpusResult> {
  spawnSync('chmod', ['755', folder]);
  const image = join(folder, 'image');
  mkdirSync(image, { mode: 0o755 });
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
  if (program === undefined) {
    const [{ reason, detail } = { reason: 'no reason', detail: undefined }] = kept;
    return { path, kind: 'kept', reason, ...(detail === undefined ? {} : { detail }) };
  }
  const started = startTime(path, image, program);
  if (typeof started === 'string') return { path, kind: 'unused', why: started };
  const invocation = findInvocation(path, folder);
  if (invocation === undefined) return { path, kind: 'built', ms: started };
  const { args, outcome } = invocation;
  const text = args.join(' ');
  for (const [index, one] of startMany(path, join(image, program.copy), args, folder).entries()) {
    const what = difference(outcome, one);
    if (what !== undefined) return { path, kind: 'wrong', args: text, what: `start ${index + 1}: ${what}` };
  }
  return { path, kind: 'same', args: text, ms: started };
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

/** Every start in a mount namespace in which the copy lies over the program. */
function startMany(path: string, copy: string, args: readonly string[], folder: string): Outcome[] {
  const script = 'mount --make-rslave / && mount --bind "$1" "$2" && shift && exec "$@"';
  return Array.from({ length: STARTS }, () => {
    const words = ['--mount', 'sh', '-c', script, 'sh', copy, path, ...args];
    return (
      runIn(folder, (home) => spawnSync('unshare', words, options(home))) ?? {
        status: 'did not end',
        stdout: '',
        stderr: '',
      }
    );
  });
}

function difference(plain: Outcome, other: Outcome): string | undefined {
  if (plain.status !== other.status)
    return `ends with ${other.status} in place of ${plain.status}: ${other.stderr.slice(0, 200)}`;
  if (plain.stdout !== other.stdout) return 'writes other things to stdout';
  return plain.stderr === other.stderr
    ? undefined
    : `writes other things to stderr: ${other.stderr.slice(0, 200)}`;
}
