import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { pid } from '../base/brands.ts';
import { allowedProcessors, limitOf, pinTo, RLIMIT, setSoftLimit } from './limits.ts';

let child: ChildProcess | undefined;
afterEach(() => child?.kill('SIGKILL'));

function sleeper() {
  child = spawn('sleep', ['60'], { stdio: 'ignore' });
  return pid(child.pid ?? 0);
}

const procLine = (process: number, file: string, name: string): string =>
  readFileSync(`/proc/${process}/${file}`, 'utf8')
    .split('\n')
    .find((line) => line.startsWith(name)) ?? '';

describe('limits', () => {
  it('are what /proc says, and are set in another process, at most to the hard limit', () => {
    const process = sleeper();
    const before = limitOf(process, RLIMIT.openFiles);
    expect(setSoftLimit(process, RLIMIT.openFiles, 123n)).toBe(true);
    expect(procLine(process, 'limits', 'Max open files')).toMatch(/^Max open files +123 /);
    expect(setSoftLimit(process, RLIMIT.openFiles, 2n ** 63n)).toBe(true);
    expect(limitOf(process, RLIMIT.openFiles)).toEqual({ soft: before?.hard, hard: before?.hard });
  });

  it('of a process that is not there are unknown', () => {
    expect(limitOf(pid(2 ** 30), RLIMIT.stack)).toBeUndefined();
    expect(setSoftLimit(pid(2 ** 30), RLIMIT.stack, 1n)).toBe(false);
  });
});

describe('processors', () => {
  it('bind another process', () => {
    const process = sleeper();
    const last = allowedProcessors().at(-1) ?? 0;
    expect(pinTo(process, last)).toBe(true);
    expect(procLine(process, 'status', 'Cpus_allowed_list')).toBe(`Cpus_allowed_list:\t${last}`);
  });
});
