import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { describeError, errnoOf, explainErrno, WinnowError } from './errors.ts';

const own = new WinnowError({ code: 'E_OWN', kind: 'input', what: 'wrong', where: '/x', next: 'right it' });

function failedRead(): unknown {
  try {
    return readFileSync('/nowhere/at/all');
  } catch (error) {
    return error;
  }
}

describe('errors', () => {
  it('are told in lines: code and what, where, what next', () => {
    expect(describeError(own)).toBe('winnow: E_OWN: wrong\n  where: /x\n  next:  right it\n');
    expect(own.exitCode).toBe(4);
  });

  it('of system calls have an errno; our own have none', () => {
    expect([failedRead(), own, new Error('x'), 'text'].map(errnoOf)).toEqual([
      'ENOENT',
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('of system calls are explained; others come back as they are', () => {
    const failed = failedRead();
    const explain = (errno: string) =>
      new WinnowError({ code: 'E_IO', kind: 'input', what: errno, next: '' });
    expect(explainErrno(failed, explain)).toMatchObject({ code: 'E_IO', what: 'ENOENT' });
    expect(explainErrno(own, explain)).toBe(own);
    expect(explainErrno('text', explain)).toBe('text');
  });
});
