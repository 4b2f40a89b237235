/** Runs a program inside the mounted disk by way of `timed` (timed.c), and reads its report. */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { WinnowError } from '../../src/base/errors.ts';
import type { Sample, Step } from '../../src/bench/model.ts';
import { runProcess } from '../../src/sys/spawn.ts';
import type { Disk } from './disk.ts';
import { ENVIRONMENT, SCRATCH } from './programs.ts';
import { tool } from './sh.ts';

export interface RootRunner {
  /** The compiled helper. */
  readonly timed: string;
  /** Folder for reports. */
  readonly folder: string;
  readonly disk: Disk;
  /** The control group's file of tasks; undefined for none. */
  readonly tasks?: string;
}

export interface RootSample extends Sample {
  /** Until everything that the program started had ended, in milliseconds. */
  readonly settledMs: number;
}

/** Compiles the helper into `folder`; static, because the mount has no other libc than the programs'. */
export function compileTimed(source: string, folder: string): string {
  const target = join(folder, 'timed');
  tool(process.env.CC ?? 'gcc', '-O2', '-static', '-o', target, source);
  return target;
}

/** The scratch folder of the programs under `root`, fresh. */
export function freshScratch(root: string): void {
  rmSync(join(root, SCRATCH), { recursive: true, force: true });
  mkdirSync(join(root, SCRATCH, 'home'), { recursive: true });
}

/**
 * Runs the steps in the mounted disk and waits until nothing of them is left.
 * @param output file on the host for stdout; /dev/null where it is not given.
 * @throws WinnowError `E_BENCH_RUN` when a step cannot be run at all.
 */
export function runInRoot(
  runner: RootRunner,
  steps: readonly Step[],
  folder: string,
  output?: string,
): RootSample {
  const report = join(runner.folder, 'timed.report');
  const words = steps.flatMap((step, index) => [...(index === 0 ? [] : [';;']), step.file, ...step.argv]);
  const stdout = output === undefined ? undefined : openSync(output, 'w');
  const log = join(runner.folder, 'timed.log');
  const stderr = openSync(log, 'w');
  try {
    const run = runProcess({
      file: runner.timed,
      argv: ['timed', report, runner.disk.root, folder, runner.tasks ?? '-', ...words],
      env: ENVIRONMENT,
      stdin: { kind: 'null' },
      stdout: stdout === undefined ? { kind: 'null' } : { kind: 'fd', fd: stdout },
      stderr: { kind: 'fd', fd: stderr },
    });
    if (run.status.kind === 'killed' || run.status.code !== 0)
      throw runError(steps, readFileSync(log, 'utf8'));
  } finally {
    if (stdout !== undefined) closeSync(stdout);
    closeSync(stderr);
  }
  const sample = parseReport(readFileSync(report, 'utf8'));
  if (sample.settledMs < 0) killTasks(runner);
  if (sample.status.kind === 'exited' && sample.status.code === 127)
    throw runError(steps, readFileSync(log, 'utf8'));
  return sample;
}

function parseReport(text: string): RootSample {
  const [wall = 0, status = 0, user = 0, system = 0, faults = 0, settled = 0] = text
    .trim()
    .split(' ')
    .map(Number);
  const signal = status & 0x7f;
  return {
    wallMs: wall / 1e6,
    userMs: user / 1e3,
    systemMs: system / 1e3,
    majorFaults: faults,
    settledMs: settled < 0 ? -1 : settled / 1e6,
    status: signal === 0 ? { kind: 'exited', code: (status >> 8) & 0xff } : { kind: 'killed', signal },
  };
}

/** Ends what a program left behind in our own control group. */
function killTasks(runner: RootRunner): void {
  if (runner.tasks === undefined) return;
  for (const id of readFileSync(runner.tasks, 'utf8').split('\n')) {
    if (id === '') continue;
    try {
      process.kill(Number(id), 'SIGKILL');
    } catch {
      // It ended between the list and the signal.
    }
  }
}

function runError(steps: readonly Step[], log: string): WinnowError {
  return new WinnowError({
    code: 'E_BENCH_RUN',
    kind: 'environment',
    what: `a command cannot be run in the mount: ${log.trim().split('\n').slice(-2).join(' | ') || 'it is not there'}`,
    where: steps.map((step) => step.file).join(' ;; '),
    next: 'a file that it needs is missing from the recorded list: record it again, or add its folder to `also`',
  });
}
