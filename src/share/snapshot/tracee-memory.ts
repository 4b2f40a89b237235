/** The memory of a stopped process, by /proc/PID/mem: reading touches no page of it. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { Pid } from '../../base/brands.ts';

export class TraceeMemory {
  readonly #fd: number;

  /** @throws the file system's error where the process is gone or may not be looked at. */
  constructor(process: Pid) {
    this.#fd = openSync(`/proc/${process}/mem`, 'r+');
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** @throws Error where a part of it is not mapped. */
  read(at: number, size: number): Buffer {
    const bytes = Buffer.allocUnsafe(size);
    let done = 0;
    while (done < size) {
      const got = readSync(this.#fd, bytes, done, size - done, at + done);
      if (got === 0) throw new Error(`memory at 0x${(at + done).toString(16)} is not mapped`);
      done += got;
    }
    return bytes;
  }

  write(at: number, bytes: Buffer): void {
    if (writeSync(this.#fd, bytes, 0, bytes.length, at) !== bytes.length) {
      throw new Error(`memory at 0x${at.toString(16)} cannot be written`);
    }
  }

  word(at: number): bigint {
    return this.read(at, 8).readBigUInt64LE();
  }

  /** The bytes up to the zero byte; undefined where there is none within `most` bytes or nothing is mapped. */
  text(at: number, most = 4096): string | undefined {
    const pieces: Buffer[] = [];
    for (let from = at; from < at + most; ) {
      // Up to the end of the page: the next one may not be there.
      const size = Math.min(at + most - from, 4096 - (from % 4096));
      let piece: Buffer;
      try {
        piece = this.read(from, size);
      } catch {
        return undefined;
      }
      const end = piece.indexOf(0);
      pieces.push(end < 0 ? piece : piece.subarray(0, end));
      if (end >= 0) return Buffer.concat(pieces).toString();
      from += size;
    }
    return undefined;
  }
}
