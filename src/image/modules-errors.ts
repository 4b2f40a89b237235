/** Errors about modules.bin. */
import { WinnowError } from '../base/errors.ts';

const ANEW = 'build the image again: winnow build --name NAME';

export const modulesTruncated = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_MODULES_TRUNCATED',
    kind: 'input',
    what: 'the table of modules ends before its end',
    where: path,
    next: ANEW,
  });

export const modulesDamaged = (path: string, how: string): WinnowError =>
  new WinnowError({
    code: 'E_MODULES_DAMAGED',
    kind: 'input',
    what: `the table of modules is damaged: ${how}`,
    where: path,
    next: ANEW,
  });

export const modulesNewer = (path: string, version: number, known: number): WinnowError =>
  new WinnowError({
    code: 'E_MODULES_NEWER',
    kind: 'unsupported',
    what: `the table of modules has format version ${version}; this winnow reads version ${known}`,
    where: path,
    next: `install a newer winnow, or ${ANEW}`,
  });
