/** Runs a system tool to its end; its failure is an error with the tool's own words. */
import { spawnSync } from 'node:child_process';
import { WinnowError } from '../../src/base/errors.ts';

/** Returns stdout. @throws WinnowError `E_BENCH_TOOL` */
export function tool(command: string, ...args: string[]): string {
  const done = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status === 0) return done.stdout;
  throw new WinnowError({
    code: 'E_BENCH_TOOL',
    kind: 'environment',
    what: `${command} failed: ${(done.stderr || String(done.error ?? done.signal)).trim().split('\n').slice(-3).join(' | ')}`,
    where: [command, ...args].join(' ').slice(0, 400),
    next: 'the suite needs root on Linux with loop devices and ext4; run it in a virtual machine of your own',
  });
}

/** A shell script with `$1`, `$2`, …; stops at the first failing command. */
export const shell = (script: string, ...args: string[]): string =>
  tool('/bin/sh', '-ec', script, 'sh', ...args);
