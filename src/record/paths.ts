/** Paths as tracees name them: strings in their memory, relative to their folders, made absolute. */
import { readlinkSync, readSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Tid } from '../base/brands.ts';
import type { Notice } from '../sys/seccomp.ts';
import { SYS } from './filter.ts';
import { readCwd, readFdLink } from './proc.ts';
import { openMemory, type Thread } from './tracees.ts';

const STANDARD = ['in', 'out', 'err'];
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
/** Names of a process for itself: of ours, if we used them. */
const OWN_NAME = /^\/(proc\/(self|thread-self)(?=\/)|dev\/(fd(?=\/)|stdin$|stdout$|stderr$))/;

export class PathReader {
  readonly #buffer = Buffer.alloc(PATH_MAX);
  readonly #real = new Map<string, string>();

  /** The absolute path a call names; undefined for an empty or unreadable one. */
  pathOf(thread: Thread, notice: Notice): string | undefined {
    const place = PATH_ARGUMENT[notice.nr];
    if (place === undefined) return undefined;
    const raw = this.#readString(thread, notice.args[place.path] ?? 0n);
    if (raw === undefined || raw === '') return undefined;
    if (raw.startsWith('/')) return this.tidy(OWN_NAME.test(raw) ? ownName(raw, thread.tid) : raw);
    const fd =
      place.folder === undefined ? AT_FDCWD : Number(BigInt.asIntN(32, notice.args[place.folder] ?? 0n));
    const folder = fd === AT_FDCWD ? readCwd(thread.tid) : readFdLink(thread.tid, fd);
    if (!folder.startsWith('/') || folder.endsWith(' (deleted)')) return undefined;
    return this.tidy(folder === '/' ? `/${raw}` : `${folder}/${raw}`);
  }

  /** An absolute path without `.` and `..`; what stands before `..` is followed if it is a symbolic link, as the kernel does. */
  tidy(path: string): string {
    if (!UNTIDY.test(path)) return path;
    let tidy = '';
    for (const name of path.split('/')) {
      if (name === '' || name === '.') continue;
      tidy = name === '..' ? dirname(this.#realPath(tidy === '' ? '/' : tidy)) : `${tidy}/${name}`;
      if (tidy === '/') tidy = '';
    }
    return tidy === '' ? '/' : tidy;
  }

  #realPath(path: string): string {
    const known = this.#real.get(path);
    if (known !== undefined) return known;
    let real = path;
    try {
      real = realpathSync.native(path);
    } catch {
      // Not there: the look-up fails, under whatever name.
    }
    this.#real.set(path, real);
    return real;
  }

  /** What execve and execveat are about to run. */
  execTarget(thread: Thread, notice: Notice): string | undefined {
    const path = this.pathOf(thread, notice);
    if (path !== undefined || notice.nr !== SYS.execveat) return path;
    // fexecve: an empty path, and the file behind the descriptor.
    const link = readFdLink(thread.tid, Number(BigInt.asIntN(32, notice.args[0])));
    return link.startsWith('/') ? link : undefined;
  }

  #readString(thread: Thread, at: bigint): string | undefined {
    const memory = openMemory(thread);
    if (memory === undefined || at === 0n) return undefined;
    for (const wanted of [FIRST_TRY, PATH_MAX]) {
      let got = this.#read(memory, at, wanted);
      // The string may end just before a hole.
      if (got === 0) got = this.#read(memory, at, PAGE - Number(at % BigInt(PAGE)));
      const end = this.#buffer.indexOf(0);
      if (end >= 0 && end < got) return this.#buffer.toString('utf8', 0, end);
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

/** The file behind `/proc/self/exe`, `/dev/stdin` and their like, as the tracee means them. */
function ownName(path: string, thread: Tid): string {
  const theirs = path
    .replace(/^\/proc\/(self|thread-self)\//, `/proc/${thread}/`)
    .replace(/^\/dev\/fd\//, `/proc/${thread}/fd/`)
    .replace(/^\/dev\/std(in|out|err)$/, (_, name) => `/proc/${thread}/fd/${STANDARD.indexOf(String(name))}`);
  try {
    const target = readlinkSync(theirs);
    return target.startsWith('/') ? target : theirs;
  } catch {
    return theirs;
  }
}
