/** Errors about profiles: one factory a code, so that wording and advice are the same everywhere. */
import { WinnowError } from '../base/errors.ts';

const ANEW = 'drop it (winnow profile drop NAME) and record again';

export const notAProfile = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_NOT_A_PROFILE',
    kind: 'input',
    what: 'this file is not a winnow profile',
    where: path,
    next: 'give a file that `winnow profile export` wrote, or one of the store (.wnp)',
  });

export const profileTruncated = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_PROFILE_TRUNCATED',
    kind: 'input',
    what: 'the profile ends before its end',
    where: path,
    next: `copy it again where it came from, or ${ANEW}`,
  });

export const profileDamaged = (path: string, how: string, cause?: unknown): WinnowError =>
  new WinnowError({
    code: 'E_PROFILE_DAMAGED',
    kind: 'input',
    what: `the profile is damaged: ${how}`,
    where: path,
    next: `copy it again where it came from, or ${ANEW}`,
    cause,
  });

export const profileNewer = (path: string, version: number, known: number): WinnowError =>
  new WinnowError({
    code: 'E_PROFILE_NEWER',
    kind: 'unsupported',
    what: `the profile has format version ${version}; this winnow reads versions up to ${known}`,
    where: path,
    next: 'install a newer winnow, or record again with this one',
  });

export const badName = (name: string): WinnowError =>
  new WinnowError({
    code: 'E_BAD_NAME',
    kind: 'usage',
    what: `${JSON.stringify(name)} cannot be the name of a profile`,
    next: 'use 1 to 80 of A-Z a-z 0-9 . _ + - and begin with none of . - +',
  });

export const noProfile = (name: string, similar: readonly string[], store: string): WinnowError =>
  new WinnowError({
    code: 'E_NO_PROFILE',
    kind: 'input',
    what: `there is no profile named ${name}`,
    where: store,
    next:
      similar.length > 0
        ? `did you mean ${similar.join(' or ')}? \`winnow profile list\` shows all`
        : 'record one: winnow record -- CMD; `winnow profile list` shows those that are there',
  });

export const nameTaken = (name: string, command: string): WinnowError =>
  new WinnowError({
    code: 'E_NAME_TAKEN',
    kind: 'input',
    what: `the profile ${name} belongs to another command: ${command}`,
    next: 'choose another name with --name NAME',
  });
