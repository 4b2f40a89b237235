/** /proc/PID/maps, parsed: the mappings of a process in ascending order. */
import { readFileSync } from 'node:fs';
import { type FileOffset, fileOffset, type Pid, tid, type UserAddress, userAddress } from '../base/brands.ts';
import { errnoOf } from '../base/errors.ts';
import { TraceeGone } from './ptrace.ts';

export interface Mapping {
  readonly start: UserAddress;
  readonly end: UserAddress;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly executable: boolean;
  readonly shared: boolean;
  readonly offset: FileOffset;
  /** Device as the kernel prints it (`fe:00`). */
  readonly device: string;
  /** 0 for anonymous memory. */
  readonly inode: bigint;
  /** File path, `[heap]` and the like, or empty. */
  readonly path: string;
  /** The file was unlinked or replaced since it was mapped. */
  readonly deleted: boolean;
}

const LINE = /^([0-9a-f]+)-([0-9a-f]+) (.)(.)(.)(.) ([0-9a-f]+) ([0-9a-f:]+) (\d+) *(.*)$/;

/** The kernel writes a newline in a path as `\012`; nothing else is escaped. */
const unescapePath = (path: string): string => path.replaceAll('\\012', '\n');

/** @param within addresses to look at: a mapping that has none of them is left out. */
export function parseMaps(
  text: string,
  within?: { readonly start: UserAddress; readonly end: UserAddress },
): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of text.split('\n')) {
    if (within !== undefined) {
      // Lines ascend; parseInt ends at the dash, and at the blank.
      if (Number.parseInt(line, 16) >= within.end) break;
      if (Number.parseInt(line.slice(line.indexOf('-') + 1), 16) <= within.start) continue;
    }
    const m = LINE.exec(line);
    if (m === null) continue;
    const end = Number.parseInt(m[2] ?? '', 16);
    // [vsyscall] lies in the kernel's half.
    if (!Number.isSafeInteger(end)) continue;
    const raw = m[10] ?? '';
    const deleted = raw.endsWith(' (deleted)');
    mappings.push({
      start: userAddress(Number.parseInt(m[1] ?? '', 16)),
      end: userAddress(end),
      readable: m[3] === 'r',
      writable: m[4] === 'w',
      executable: m[5] === 'x',
      shared: m[6] === 's',
      offset: fileOffset(Number.parseInt(m[7] ?? '', 16)),
      device: m[8] ?? '',
      inode: BigInt(m[9] ?? '0'),
      path: unescapePath(deleted ? raw.slice(0, -' (deleted)'.length) : raw),
      deleted,
    });
  }
  return mappings;
}

/**
 * The text that `parseMaps` reads; empty for one that is dead and not waited for yet.
 *
 * @throws TraceeGone where the process is gone; the file system's error where it may not be looked at.
 */
export function readMapsText(process: Pid): string {
  try {
    return readFileSync(`/proc/${process}/maps`, 'utf8');
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ESRCH') throw new TraceeGone(tid(process), 'maps');
    throw error;
  }
}

/** @throws like `readMapsText`. */
export const readMaps = (process: Pid): Mapping[] => parseMaps(readMapsText(process));
