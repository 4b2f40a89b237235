/** Errors about plan.bin. */
import { WinnowError } from '../base/errors.ts';

const ANEW = 'build the image again: winnow build --name NAME';

export const planTruncated = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_PLAN_TRUNCATED',
    kind: 'input',
    what: 'the plan ends before its end',
    where: path,
    next: ANEW,
  });

export const planDamaged = (path: string, how: string): WinnowError =>
  new WinnowError({
    code: 'E_PLAN_DAMAGED',
    kind: 'input',
    what: `the plan is damaged: ${how}`,
    where: path,
    next: ANEW,
  });

export const planNewer = (path: string, version: number, known: number): WinnowError =>
  new WinnowError({
    code: 'E_PLAN_NEWER',
    kind: 'unsupported',
    what: `the plan has format version ${version}; this winnow reads version ${known}`,
    where: path,
    next: `install a newer winnow, or ${ANEW}`,
  });
