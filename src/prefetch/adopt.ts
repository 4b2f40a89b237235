/** Finds the profile's files on this machine, as they are now. */
import { accessSync, constants, statfsSync, statSync } from 'node:fs';
import { errnoOf, WinnowError } from '../base/errors.ts';
import { identifyFile, sameContent, sameFile } from '../profile/identity.ts';
import { insideRoot } from '../profile/inside-root.ts';
import type { FileIdentity } from '../profile/model.ts';
import type { FileReason } from './model.ts';

/** A file to fetch from, by what it is now. */
export interface Adopted {
  readonly kind: 'adopted';
  /** Its path on this machine: below the root, where there is one. */
  readonly here: string;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly inode: bigint;
  readonly dev: bigint;
  /** Installed anew since, with the same content. */
  readonly anew: boolean;
}

export interface NotAdopted {
  readonly kind: 'skipped';
  readonly reason: FileReason;
}

const skipped = (reason: FileReason): NotAdopted => ({ kind: 'skipped', reason });

/** Their files have no device to be fetched from: tmpfs, ramfs, hugetlbfs, proc, sysfs, devpts, cgroup 1 and 2. */
const IN_MEMORY = new Set([
  0x01021994, 0x858458f6, 0x958458f6, 0x9fa0, 0x62656572, 0x1cd1, 0x27e0eb, 0x63677270,
]);

/** Whether the file system that holds `path` is in memory; remembered by device. */
function isInMemory(path: string, dev: bigint, known: Map<bigint, boolean>): boolean {
  const answer = known.get(dev) ?? IN_MEMORY.has(statfsSync(path).type);
  known.set(dev, answer);
  return answer;
}

/** Looks files up, below `root` if one is given. Content is read only where the stat has changed. */
export function fileFinder(
  root: string | undefined,
): (path: string, recorded: FileIdentity) => Adopted | NotAdopted {
  const inMemory = new Map<bigint, boolean>();
  return (path, recorded) => {
    const here = root === undefined ? path : insideRoot(root, path);
    try {
      const stat = statSync(here, { bigint: true });
      if (!stat.isFile()) return skipped('not-a-regular-file');
      if (isInMemory(here, stat.dev, inMemory)) return skipped('special-file-system');
      const now = { size: Number(stat.size), mtimeNs: stat.mtimeNs, inode: stat.ino };
      const anew = !sameFile(now, recorded);
      if (anew && !sameContent(identifyFile(here), recorded)) return skipped('changed');
      accessSync(here, constants.R_OK);
      return { kind: 'adopted', here, ...now, dev: stat.dev, anew };
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ELOOP') return skipped('missing');
      if (errno === 'EACCES' || errno === 'EPERM') return skipped('not-readable');
      if (error instanceof WinnowError && error.code === 'E_NOT_A_FILE') return skipped('not-a-regular-file');
      throw error;
    }
  };
}
