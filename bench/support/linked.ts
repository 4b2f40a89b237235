/**
 * Whether programs start linked in the mount: an image that does not hold starts them by their own loaders, and its times would
 * be those of another thing.
 *
 * Method: the program is traced, and the memory of each of its processes looked at when it ends. Only those with a C
 * library count, which leaves out the helper and the launcher.
 */
import { join } from 'node:path';
import type { Step } from '../../src/bench/model.ts';
import { ENVIRONMENT } from './programs.ts';
import { freshScratch, type RootRunner } from './root-run.ts';
import { memoryAtEnds } from './traced.ts';

export interface LinkedCount {
  /** Processes of the command, and those whose program started linked. */
  readonly processes: number;
  readonly linked: number;
}

const SHELL = '/bin/sh';
const C_LIBRARY = 'libc.so';
/** NAME.linked, mapped. */
const LINKED = /\.linked$/m;

/** Runs the steps once; what the program says goes nowhere. */
export function countLinked(runner: RootRunner, steps: readonly Step[], folder: string): LinkedCount {
  const { root } = runner.disk;
  freshScratch(root);
  const words = steps.flatMap((step, index) => [...(index === 0 ? [] : [';;']), step.file, ...step.argv]);
  const helper = [runner.timed, join(runner.folder, 'linked.report'), root, folder, '-', ...words];
  const argv = ['sh', '-c', 'exec "$@" >/dev/null 2>&1', 'sh', ...helper];
  const run = { file: SHELL, argv, env: ENVIRONMENT, cwd: process.cwd() };
  const inRoot = memoryAtEnds(run, 'maps').texts.filter((text) =>
    text.split('\n').some((line) => line.includes(root) && line.includes(C_LIBRARY)),
  );
  return { processes: inRoot.length, linked: inRoot.filter((text) => LINKED.test(text)).length };
}
