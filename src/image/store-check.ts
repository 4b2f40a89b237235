/** What audit.so would say of the file beside a rewritten module: `open_cold` of runtime/demand.c, in the same words. */
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync } from 'node:fs';
import { planChecksum } from '../base/checksum.ts';
import { errnoOf } from '../base/errors.ts';
import * as layout from '../select/cold-layout.ts';

const WRITABLE = 0o022;
/** Of header, ranges, hidden pages and chunks of the largest store. */
const MOST_HEAD = 2 ** 22;

/**
 * @param moduleSize of the module that it stands beside.
 * @returns what is wrong with it, or undefined. Chunks are not looked at: those are checked when they are come to.
 */
export function whyNotStore(path: string, moduleSize: number): string | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 'is missing';
  if (!found.isFile()) return found.isSymbolicLink() ? 'cannot be opened' : 'is no file';
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    return errnoOf(error) === 'EACCES' ? 'cannot be read by this user' : 'cannot be opened';
  }
  try {
    const { uid, mode, size } = fstatSync(fd);
    const isOwn = uid === 0 || uid === process.geteuid?.();
    if (!isOwn || (mode & WRITABLE) !== 0) return 'could have been written by others';
    return whyNotHead(fd, size, moduleSize);
  } finally {
    closeSync(fd);
  }
}

function whyNotHead(fd: number, size: number, moduleSize: number): string | undefined {
  const start = Buffer.alloc(layout.COLD_HEADER.size);
  if (readSync(fd, start, 0, start.length, 0) < start.length) return 'is cut off';
  if (start.readBigUInt64LE(layout.COLD_HEADER.magic) !== layout.COLD_MAGIC) return 'is damaged';
  if (start.readUInt32LE(layout.COLD_HEADER.version) !== layout.COLD_VERSION)
    return 'was written by another version of winnow';
  const total = start.readBigUInt64LE(layout.COLD_HEADER.total_size);
  if (total > BigInt(size)) return 'is cut off';
  const headSize = start.readUInt32LE(layout.COLD_HEADER.head_size);
  if (total !== BigInt(size) || headSize > Math.min(size, MOST_HEAD) || headSize % 8 !== 0)
    return 'is damaged';
  const head = Buffer.alloc(headSize);
  if (readSync(fd, head, 0, headSize, 0) < headSize) return 'is cut off';
  const checksum = planChecksum(head.subarray(layout.COLD_CHECKED_FROM));
  if (checksum !== start.readBigUInt64LE(layout.COLD_HEADER.head_checksum)) return 'is damaged';
  return start.readBigUInt64LE(layout.COLD_HEADER.module_size) === BigInt(moduleSize)
    ? undefined
    : 'belongs to another module';
}
