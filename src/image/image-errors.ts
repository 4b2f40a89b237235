/** Errors about images. */
import { explainErrno, WinnowError } from '../base/errors.ts';

export const noImage = (name: string, where: string, similar: readonly string[]): WinnowError =>
  new WinnowError({
    code: 'E_NO_IMAGE',
    kind: 'input',
    what: `there is no image named ${name}`,
    where,
    next:
      similar.length > 0
        ? `did you mean ${similar.join(' or ')}? \`winnow image list\` shows all`
        : `build one: winnow build --name ${name}; \`winnow image list\` shows those that are there`,
  });

export const noImageOfCommand = (command: string, others: readonly string[]): WinnowError =>
  new WinnowError({
    code: 'E_NO_IMAGE',
    kind: 'input',
    what:
      others.length > 0
        ? 'no image was built for this command, and several of the same program are there'
        : 'no image was built for this command',
    where: command,
    next:
      others.length > 0
        ? `choose one: ${others.map((name) => `--name ${name}`).join(' or ')}`
        : `winnow record -- ${command}, then: winnow build -- ${command}`,
  });

export const imageDamaged = (path: string, how: string, cause?: unknown): WinnowError =>
  new WinnowError({
    code: 'E_IMAGE_DAMAGED',
    kind: 'input',
    what: `the image is damaged: ${how}`,
    where: path,
    next: 'build it again: winnow build --name NAME',
    cause,
  });

export const imageNewer = (path: string, version: number, known: number): WinnowError =>
  new WinnowError({
    code: 'E_IMAGE_NEWER',
    kind: 'unsupported',
    what: `the image has format version ${version}; this winnow reads version ${known}`,
    where: path,
    next: 'install a newer winnow, or build the image again with this one',
  });

export const isLauncher = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_PROGRAM_IS_LAUNCHER',
    kind: 'input',
    what: 'the recorded program is a launcher of winnow itself, not the program behind it',
    where: path,
    next: 'record the program by its own path: winnow record -- /usr/bin/PROGRAM',
  });

export const runtimeMissing = (path: string, what: string, cause?: unknown): WinnowError =>
  new WinnowError({
    code: 'E_RUNTIME_MISSING',
    kind: 'environment',
    what,
    where: path,
    next: 'run `npm run build`, or install winnow again',
    cause,
  });

/** The error for a failed system call while an image is built; other errors come back as they are. */
export const imageFailure = (error: unknown, path: string): unknown =>
  explainErrno(error, (errno) => {
    const at = { where: path, cause: error, kind: 'environment' } as const;
    if (errno === 'ENOSPC' || errno === 'EDQUOT') {
      return new WinnowError({
        ...at,
        code: 'E_IMAGE_FULL',
        what: 'the disk or the quota is full; an image that was there before is unchanged',
        next: 'make room, or choose another store (--store DIR), and build again',
      });
    }
    return new WinnowError({
      ...at,
      code: 'E_IMAGE_WRITE',
      what: `the image cannot be written: ${errno}`,
      next: 'check the owner, the mode and the disk of the store, or choose another one (--store DIR)',
    });
  });

/** The error for a failed system call while a command is installed; other errors come back as they are. */
export const installFailure = (error: unknown, path: string): unknown =>
  explainErrno(
    error,
    (errno) =>
      new WinnowError({
        code: 'E_INSTALL_WRITE',
        kind: 'environment',
        what: `the command cannot be installed: ${errno}`,
        where: path,
        next: 'choose a folder that you may write: --dir DIR',
        cause: error,
      }),
  );

export const rootNotCopied = (how: string, path: string, cause?: unknown): WinnowError =>
  new WinnowError({
    code: 'E_ROOT_COPY',
    kind: 'environment',
    what: `the root file system cannot be copied: ${how}`,
    where: path,
    next: 'make room, and copy as root: owners and devices need it',
    cause,
  });

/** The error for a failed system call while a root is copied; other errors come back as they are. */
export const rootCopyFailure = (error: unknown, path: string): unknown =>
  explainErrno(error, (errno) => rootNotCopied(errno, path, error));
