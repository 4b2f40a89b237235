/** Paths as tracees name them: strings in their memory, relative to their folders, made absolute. */
import { readSync } from 'node:fs';
import { join, normalize } from 'node:path';
import type { Notice } from '../sys/seccomp.ts';
import { SYS } from './filter.ts';
import { readCwd, readFdLink } from './proc.ts';
import { openMemory, type Thread } from './tracees.ts';

const AT_FDCWD = -100;
/** Most paths are short; the second try reads up to PATH_MAX. */
const FIRST_TRY = 192;
const PATH_MAX = 4096;
const PAGE = 4096;

/** Where a call keeps its path: the argument's number, and that of the folder's descriptor. */
const PATH_ARGUMENT: Readonly<Record<number, { readonly path: number; readonly folder?: number }>> = {
  [SYS.open]: { path: 0 },
  [SYS.stat]: { path: 0 },
  [SYS.lstat]: { path: 0 },
  [SYS.access]: { path: 0 },
  [SYS.execve]: { path: 0 },
  [SYS.openat]: { path: 1, folder: 0 },
  [SYS.newfstatat]: { path: 1, folder: 0 },
  [SYS.faccessat]: { path: 1, folder: 0 },
  [SYS.faccessat2]: { path: 1, folder: 0 },
  [SYS.statx]: { path: 1, folder: 0 },
  [SYS.openat2]: { path: 1, folder: 0 },
  [SYS.execveat]: { path: 1, folder: 0 },
};

/** `//`, `/./` or `/../`, or one of them at the end. */
const UNTIDY = /\/(\/|\.{1,2}(\/|$))/;

export class PathReader {
  readonly #buffer = Buffer.alloc(PATH_MAX);

  /** The absolute path a call names; undefined for an empty or unreadable one. */
  pathOf(thread: Thread, notice: Notice): string | undefined {
    const place = PATH_ARGUMENT[notice.nr];
    if (place === undefined) return undefined;
    const raw = this.#readString(thread, notice.args[place.path] ?? 0n);
    if (raw === undefined || raw === '') return undefined;
    if (raw.startsWith('/')) return UNTIDY.test(raw) ? normalize(raw) : raw;
    const fd =
      place.folder === undefined ? AT_FDCWD : Number(BigInt.asIntN(32, notice.args[place.folder] ?? 0n));
    const folder = fd === AT_FDCWD ? readCwd(thread.tid) : readFdLink(thread.process.pid, fd);
    return folder.startsWith('/') ? join(folder, raw) : undefined;
  }

  /** What execve and execveat are about to run. */
  execTarget(thread: Thread, notice: Notice): string | undefined {
    const path = this.pathOf(thread, notice);
    if (path !== undefined || notice.nr !== SYS.execveat) return path;
    // fexecve: an empty path, and the file behind the descriptor.
    const link = readFdLink(thread.process.pid, Number(BigInt.asIntN(32, notice.args[0])));
    return link.startsWith('/') ? link : undefined;
  }

  #readString(thread: Thread, at: bigint): string | undefined {
    const memory = openMemory(thread.process);
    if (memory === undefined || at === 0n) return undefined;
    for (const wanted of [FIRST_TRY, PATH_MAX]) {
      let got = this.#read(memory, at, wanted);
      // The string may end just before a hole.
      if (got === 0) got = this.#read(memory, at, PAGE - Number(at % BigInt(PAGE)));
      const end = this.#buffer.subarray(0, got).indexOf(0);
      if (end >= 0) return this.#buffer.toString('utf8', 0, end);
    }
    return undefined;
  }

  #read(memory: number, at: bigint, wanted: number): number {
    try {
      return readSync(memory, this.#buffer, 0, wanted, at);
    } catch {
      return 0;
    }
  }
}
