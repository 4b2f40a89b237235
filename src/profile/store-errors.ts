/** Errors about the store's folders and files. */
import { explainErrno, WinnowError } from '../base/errors.ts';

export const storeWritable = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_STORE_WRITABLE',
    kind: 'environment',
    what: 'others can write here, so what stands here cannot be trusted',
    where: path,
    next: `look at what is in it, then: chmod go-w ${path}`,
  });

export const storeOwner = (path: string, owner: number): WinnowError =>
  new WinnowError({
    code: 'E_STORE_OWNER',
    kind: 'environment',
    what: `this belongs to user ${owner}, neither to you nor to root`,
    where: path,
    next: 'use a store of your own (--store DIR), or give this one to its rightful owner (chown)',
  });

export const storeNotAFolder = (path: string): WinnowError =>
  new WinnowError({
    code: 'E_STORE_NOT_A_FOLDER',
    kind: 'environment',
    what: 'something stands here that is no folder or file of a store',
    where: path,
    next: 'move it away, or choose another store (--store DIR)',
  });

export const storeBusy = (path: string, seconds: number): WinnowError =>
  new WinnowError({
    code: 'E_STORE_BUSY',
    kind: 'environment',
    what: `another winnow has held the store's lock for ${seconds} seconds`,
    where: path,
    next: 'wait for it, or end it, and try again',
  });

export const storeReadOnly = (path: string, name: string): WinnowError =>
  new WinnowError({
    code: 'E_STORE_READ_ONLY',
    kind: 'environment',
    what: `the profile ${name} is in the system's store, which only root changes`,
    where: path,
    next: `as root: winnow profile drop ${name} --store ${path}`,
  });

export const importFailure = (path: string, why: string): WinnowError =>
  new WinnowError({
    code: 'E_CANNOT_READ',
    kind: 'input',
    what: `this file cannot be read: ${why}`,
    where: path,
    next: 'check the path and the mode of the file',
  });

/** The error for a failed export; other errors come back as they are. */
export const exportFailure = (error: unknown, path: string): unknown =>
  explainErrno(
    error,
    (errno) =>
      new WinnowError({
        code: 'E_CANNOT_WRITE',
        kind: 'environment',
        what: `this file cannot be written: ${errno}`,
        where: path,
        next: 'check that its folder exists, is yours and has room',
        cause: error,
      }),
  );

/** The error for a failed system call on the store; other errors come back as they are. */
export const storeFailure = (error: unknown, path: string): unknown =>
  explainErrno(error, (errno) => storeErrno(errno, path, error));

function storeErrno(errno: string, path: string, cause: unknown): WinnowError {
  const at = { kind: 'environment', where: path, cause } as const;
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new WinnowError({
      ...at,
      code: 'E_STORE_FULL',
      what: 'the disk or the quota is full; what was there before is unchanged',
      next: 'make room, or choose another store (--store DIR), and try again',
    });
  }
  if (errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS') {
    return new WinnowError({
      ...at,
      code: 'E_STORE_DENIED',
      what: errno === 'EROFS' ? 'the file system is read-only' : 'you may not read or write this',
      next: 'check the owner and the mode, or choose another store (--store DIR)',
    });
  }
  if (errno === 'ENOTDIR' || errno === 'EISDIR' || errno === 'ELOOP') return storeNotAFolder(path);
  return new WinnowError({
    ...at,
    code: 'E_STORE_IO',
    // What is missing is made: ENOENT is left for places such as /proc and links that lead nowhere.
    what: errno === 'ENOENT' ? 'nothing can be made here' : `the store cannot be used: ${errno}`,
    next: 'check the disk and the path, or choose another store (--store DIR)',
  });
}
