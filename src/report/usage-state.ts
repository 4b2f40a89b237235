/** Whether a recorded file is still what it was: stat first, content only where stat differs. */
import { statSync } from 'node:fs';
import { errnoOf, WinnowError } from '../base/errors.ts';
import { identifyFile, sameContent, sameFile } from '../profile/identity.ts';
import type { FileIdentity } from '../profile/model.ts';
import type { FileState } from './usage.ts';

/** A file that was installed anew with the same content is the same. */
export function fileState(path: string, recorded: FileIdentity): FileState {
  try {
    const stat = statSync(path, { bigint: true });
    const now = { size: Number(stat.size), mtimeNs: stat.mtimeNs, inode: stat.ino };
    if (sameFile(recorded, now)) return 'same';
    return now.size === recorded.size && sameContent(recorded, identifyFile(path)) ? 'same' : 'changed';
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return 'missing';
    // E_NOT_A_FILE: a folder or a pipe stands in its place now.
    if (error instanceof WinnowError) return 'changed';
    if (errno !== undefined) return 'unreadable';
    throw error;
  }
}
