/** Errors about NAME.linked. */
import { WinnowError } from '../../base/errors.ts';

const ANEW = 'build the image again: winnow build --name NAME';

export const linkedTruncated = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_LINKED_TRUNCATED',
    kind: 'input',
    what: 'the linked program ends before its end',
    where: path,
    next: ANEW,
  });

export const linkedDamaged = (path: string, how: string): WinnowError =>
  new WinnowError({
    code: 'E_LINKED_DAMAGED',
    kind: 'input',
    what: `the linked program is damaged: ${how}`,
    where: path,
    next: ANEW,
  });

export const linkedNewer = (path: string, version: number, known: number): WinnowError =>
  new WinnowError({
    code: 'E_LINKED_NEWER',
    kind: 'unsupported',
    what: `the linked program has format version ${version}; this winnow reads version ${known}`,
    where: path,
    next: `install a newer winnow, or ${ANEW}`,
  });
