/**
 * Breakpoints into a memory and out of it again, through /proc/PID/mem: it writes what the program itself may
 * not write, into a private copy of the page.
 *
 * Pages are written whole only before anybody can run them; later, bytes, each by itself: what the program
 * does to its own code beside them is not undone.
 */
import { readSync, writeSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import type { Fd } from '../sys/fds.ts';
import type { AddressRange } from '../sys/pagemap.ts';
import { type CodeFile, INT3 } from './code-file.ts';
import type { Region } from './regions.ts';

const one = Buffer.alloc(1);

/**
 * Writes all breakpoints of a file that lie in `range`, which has just been mapped.
 *
 * @param fd the file, open.
 * @returns the address up to which that went well: the range's end, unless the kernel refused.
 */
export function plant(memory: Fd, code: CodeFile, fd: Fd, bias: number, range: AddressRange): number {
  for (const run of code.runs) {
    const from = Math.max(range.start, bias + run.start);
    const to = Math.min(range.end, bias + run.end);
    if (from >= to) continue;
    const done = writeAll(memory, code.bytesFor(fd, run, from - bias, to - bias), from);
    if (done < to - from) return from + done;
  }
  return range.end;
}

/** How many bytes could be written: all of them, where nothing is wrong. */
function writeAll(memory: Fd, bytes: Uint8Array, at: number): number {
  let done = 0;
  while (done < bytes.length) {
    const got = attempt(() => writeSync(memory, bytes, done, bytes.length - done, at + done)) ?? 0;
    if (got === 0) break;
    done += got;
  }
  return done;
}

export const holdsBreakpoint = (memory: Fd, at: number): boolean =>
  attempt(() => readSync(memory, one, 0, 1, at)) === 1 && one[0] === INT3;

/** Puts back what belongs in place of a breakpoint. */
export function putBack(memory: Fd, { bias, code }: Region, index: number): void {
  one[0] = code.originalOf(index);
  attempt(() => writeSync(memory, one, 0, 1, bias + code.placeOf(index)));
}

/** Takes out every breakpoint that is still there; the threads may run meanwhile. */
export function putAllBack(memory: Fd, region: Region): void {
  const { bias, code } = region;
  for (const { start, end } of code.runs) {
    const from = Math.max(region.start, bias + start);
    const to = Math.min(region.end, bias + end);
    if (from >= to) continue;
    const now = Buffer.alloc(to - from);
    // A page that cannot be read has been unmapped.
    if (attempt(() => readSync(memory, now, 0, now.length, from)) === undefined) continue;
    for (let index = code.indexFrom(from - bias); code.placeOf(index) < to - bias; index++) {
      if (now[code.placeOf(index) - (from - bias)] === INT3) putBack(memory, region, index);
    }
  }
}

/** A process may be gone, or a page, under any read and write: then there is nothing left to do. */
function attempt(body: () => number): number | undefined {
  try {
    return body();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
