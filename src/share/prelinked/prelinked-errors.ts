/** Errors about prelink.bin. */
import { WinnowError } from '../../base/errors.ts';

const ANEW = 'build the image again: winnow build --name NAME';

export const prelinkedTruncated = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_PRELINK_TRUNCATED',
    kind: 'input',
    what: 'the table of prelinked programs ends before its end',
    where: path,
    next: ANEW,
  });

export const prelinkedDamaged = (path: string, how: string): WinnowError =>
  new WinnowError({
    code: 'E_PRELINK_DAMAGED',
    kind: 'input',
    what: `the table of prelinked programs is damaged: ${how}`,
    where: path,
    next: ANEW,
  });

export const prelinkedNewer = (path: string, version: number, known: number): WinnowError =>
  new WinnowError({
    code: 'E_PRELINK_NEWER',
    kind: 'unsupported',
    what: `the table of prelinked programs has format version ${version}; this winnow reads version ${known}`,
    where: path,
    next: `install a newer winnow, or ${ANEW}`,
  });
