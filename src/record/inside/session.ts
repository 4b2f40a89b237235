/**
 * A recording from inside: the folder that inside.so finds its files in, as long as the program runs.
 *
 * LD_AUDIT names a link in it to the object; beside it lie `sites` and `log` (runtime/inside.h). In memory where there is
 * a place for that: what is written to a file on a disk is written to the disk as well.
 */
import {
  closeSync,
  ftruncateSync,
  openSync,
  readSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Pid } from '../../base/brands.ts';
import { probeProgram } from '../../elf/probe.ts';
import { readElfFile } from '../../elf/read.ts';
import { closeFd, type Fd } from '../../sys/fds.ts';
import * as layout from '../../sys/inside-layout.ts';
import { emptyLog, type InsideLog, readInsideLog } from '../../sys/inside-log.ts';
import { openKeepSocket } from '../../sys/keep-socket.ts';
import { runtimeFile } from '../../sys/runtime.ts';
import { findSites, LIBC_CALLS, LOADER_CALLS, NEEDED, type Site } from './find-sites.ts';
import { openSessionFolder } from './folder.ts';

const OBJECT = 'inside.so';
const LOADER_NAME = 'ld-linux-x86-64.so.2';
const LIBC_NAME = 'libc.so.6';
const SCRIPT_DEPTH = 5;

export interface InsideSession {
  /** The environment of the program. */
  readonly env: Readonly<Record<string, string>>;
  /** Our own files, which the program maps. */
  readonly ownFiles: ReadonlySet<string>;
  /** Where processes send what is to be kept for them. */
  readonly socket: Fd;
  /** Says who answers; call it before the program runs. */
  noteWatcher(watcher: Pid): void;
  /** What was written so far. */
  read(): InsideLog;
  /** Programs that start from now on are not recorded from inside. */
  withdraw(): void;
  /** Removes the folder; what still runs goes on. */
  close(): void;
}

/**
 * Makes everything ready to record a program from inside.
 *
 * @returns undefined where that cannot be: no program of glibc's loader, an auditor already, a libc whose calls are not
 *   where they are looked for.
 */
export function openInside(
  program: string,
  env: Readonly<Record<string, string>>,
): InsideSession | undefined {
  if (env.LD_AUDIT !== undefined) return undefined;
  const loader = loaderOf(program);
  if (loader === undefined) return undefined;
  try {
    const sites = sitesOf(loader);
    return sites === undefined ? undefined : openSession(env, sites);
  } catch {
    // A loader or libc that is damaged, no room, no folder to write to: the tracer does without.
    return undefined;
  }
}

function openSession(env: Readonly<Record<string, string>>, sites: Buffer): InsideSession {
  const folder = openSessionFolder();
  const log = join(folder.path, 'log');
  let socket: Fd | undefined;
  try {
    socket = openKeepSocket(join(folder.path, 'keep'));
    symlinkSync(runtimeFile(OBJECT), join(folder.path, OBJECT));
    writeFileSync(join(folder.path, 'sites'), sites, { mode: 0o644 });
    createLog(log);
  } catch (error) {
    if (socket !== undefined) closeFd(socket);
    folder.close();
    throw error;
  }
  const keep = socket;
  return {
    env: { ...env, LD_AUDIT: join(folder.path, OBJECT) },
    socket: keep,
    ownFiles: new Set([realpathSync(runtimeFile(OBJECT)), log, join(folder.path, 'sites')]),
    noteWatcher: (watcher) => writeWatcher(log, watcher),
    read: () => readInsideLog(readLog(log)),
    withdraw: () => rmSync(log, { force: true }),
    close: () => {
      closeFd(keep);
      folder.close();
    },
  };
}

function createLog(path: string): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    writeSync(fd, emptyLog());
    // Not one byte of it is there before a process claims it.
    ftruncateSync(fd, layout.INSIDE_CHUNK * layout.INSIDE_CHUNKS_MAX);
  } finally {
    closeSync(fd);
  }
}

function writeWatcher(path: string, watcher: Pid): void {
  const fd = openSync(path, 'r+');
  try {
    const word = Buffer.alloc(4);
    word.writeUInt32LE(watcher);
    writeSync(fd, word, 0, word.length, layout.HEADER.watcher);
  } finally {
    closeSync(fd);
  }
}

/** The chunks that were begun. */
function readLog(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    const head = Buffer.alloc(layout.HEADER.size);
    readSync(fd, head, 0, head.length, 0);
    const chunks = Math.min(head.readUInt32LE(layout.HEADER.chunk) + 1, layout.INSIDE_CHUNKS_MAX);
    const log = Buffer.alloc(chunks * layout.INSIDE_CHUNK);
    readSync(fd, log, 0, log.length, 0);
    return log;
  } finally {
    closeSync(fd);
  }
}

/** The loader that will run a program, or the interpreter of a script; undefined where it is not glibc's. */
function loaderOf(program: string): string | undefined {
  let path = program;
  try {
    for (let depth = 0; depth <= SCRIPT_DEPTH; depth++) {
      const found = probeProgram(path);
      if (found.kind === 'elf') {
        return found.interp?.endsWith(`/${LOADER_NAME}`) === true ? found.interp : undefined;
      }
      if (found.kind === 'other') return undefined;
      path = found.interpreter;
    }
  } catch {
    // It cannot be read.
  }
  return undefined;
}

/** The contents of the file `sites`. */
function sitesOf(loader: string): Buffer | undefined {
  const loaderPath = realpathSync(loader);
  const libcPath = join(dirname(loaderPath), LIBC_NAME);
  const modules = [
    { path: loaderPath, sites: findSites(readElfFile(loaderPath), LOADER_CALLS) },
    { path: realpathSync(libcPath), sites: findSites(readElfFile(libcPath), LIBC_CALLS) },
  ];
  const calls = new Set(modules[1]?.sites.map(({ call }) => call));
  const count = modules.reduce((sum, { sites }) => sum + sites.length, 0);
  if (count > layout.INSIDE_SITES_MAX || [...NEEDED].some((call) => !calls.has(call))) return undefined;
  return encodeSites(modules);
}

function encodeSites(modules: readonly { readonly path: string; readonly sites: readonly Site[] }[]): Buffer {
  const { MODULE, SITE, SITES } = layout;
  const bytes = Buffer.alloc(SITES.size);
  bytes.writeBigUInt64LE(layout.INSIDE_MAGIC, SITES.magic);
  bytes.writeUInt32LE(layout.INSIDE_VERSION, SITES.version);
  bytes.writeUInt32LE(modules.length, SITES.modules_count);
  let first = 0;
  for (const [index, { path, sites }] of modules.entries()) {
    const at = SITES.modules + index * MODULE.size;
    const stats = statSync(path, { bigint: true });
    bytes.writeBigUInt64LE(stats.dev, at + MODULE.device);
    bytes.writeBigUInt64LE(stats.ino, at + MODULE.inode);
    bytes.writeBigUInt64LE(stats.size, at + MODULE.bytes);
    bytes.writeBigInt64LE(stats.mtimeNs / 1_000_000_000n, at + MODULE.seconds);
    bytes.writeBigUInt64LE(stats.mtimeNs % 1_000_000_000n, at + MODULE.nanoseconds);
    bytes.writeUInt32LE(first, at + MODULE.first);
    bytes.writeUInt32LE(sites.length, at + MODULE.count);
    for (const site of sites) {
      const place = SITES.sites + first++ * SITE.size;
      bytes.writeBigUInt64LE(BigInt(site.rva), place + SITE.rva);
      bytes.writeUInt32LE(site.call, place + SITE.call);
      bytes.writeUInt32LE(site.kind, place + SITE.kind);
    }
  }
  return bytes;
}
