import { closeSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WinnowError } from '../base/errors.ts';
import { runProcess, type SpawnOptions } from './spawn.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'winnow-spawn-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const sh = (script: string, more: Partial<SpawnOptions> = {}): SpawnOptions => ({
  file: '/bin/sh',
  argv: ['sh', '-c', script],
  env: { PATH: '/usr/bin:/bin' },
  stdin: { kind: 'null' },
  stdout: { kind: 'null' },
  stderr: { kind: 'null' },
  ...more,
});

function outputOf(options: SpawnOptions): string {
  const path = join(folder, 'out');
  const fd = openSync(path, 'w');
  try {
    const run = runProcess({ ...options, stdout: { kind: 'fd', fd } });
    expect(run.status).toEqual({ kind: 'exited', code: 0 });
  } finally {
    closeSync(fd);
  }
  return readFileSync(path, 'utf8');
}

describe('runProcess', () => {
  it('tells exit codes and signals apart', () => {
    expect(runProcess(sh('exit 3')).status).toEqual({ kind: 'exited', code: 3 });
    expect(runProcess(sh('kill -TERM $$')).status).toEqual({ kind: 'killed', signal: 15 });
  });

  it('gives argv, environment and folder, and none of its own variables', () => {
    const options = sh('echo "$0|$A|$WINNOW_CALLER_NOFILE|$(pwd)"', {
      argv: ['sh', '-c', 'echo "$0|$A|$WINNOW_CALLER_NOFILE|$(pwd)"', 'zero'],
      env: { A: 'é b', WINNOW_CALLER_NOFILE: '7', PATH: '/usr/bin:/bin' },
      cwd: folder,
    });
    expect(outputOf(options)).toBe(`zero|é b||${realpathSync(folder)}\n`);
  });

  it('leaves no ignored or blocked signal and no descriptor of Node to the program', () => {
    const status = outputOf({ ...sh(''), file: '/bin/cat', argv: ['cat', '/proc/self/status'] });
    expect(status).toMatch(/^SigBlk:\s*0+$/m);
    expect(status).toMatch(/^SigIgn:\s*0+$/m);
    expect(outputOf({ ...sh(''), file: '/bin/ls', argv: ['ls', '/proc/self/fd'] })).toBe('0\n1\n2\n3\n');
  });

  it('sets the limit on open files for the program alone', () => {
    const before = readFileSync('/proc/self/limits', 'utf8');
    expect(outputOf(sh('ulimit -Sn', { openFiles: 321 }))).toBe('321\n');
    expect(readFileSync('/proc/self/limits', 'utf8')).toBe(before);
  });

  it('measures what the program used', () => {
    const run = runProcess(sh('i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'));
    expect(run.usage.userNs + run.usage.systemNs).toBeGreaterThan(0);
    expect(run.wallNs).toBeGreaterThan(0);
    expect(run.usage.maxRssKib).toBeGreaterThan(100);
  });

  it('kills the whole group after the time-out', () => {
    const run = runProcess(sh('sleep 60 & sleep 60', { ownGroup: true }), 50);
    expect(run.timedOut).toBe(true);
    expect(run.status).toEqual({ kind: 'killed', signal: 9 });
  });

  it.each([
    ['/nonexistent/program', 127],
    ['/etc/passwd', 126],
  ])('says that %s cannot be started', (file, exitCode) => {
    const run = () => runProcess({ ...sh(''), file });
    expect(run).toThrow(WinnowError);
    expect(run).toThrow(expect.objectContaining({ code: 'E_SPAWN', exitCode }));
  });
});
