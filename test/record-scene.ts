/** A scratch folder with a store, small C programs, and `bin/winnow record` as a person starts it. */
import { type ChildProcess, execFileSync, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Run, UsedPages, UsedProcess } from '../src/profile/model.ts';
import { openStore } from '../src/profile/store.ts';
import type { Observer } from '../src/record/events.ts';
import { type Recording, record } from '../src/record/recorder.ts';

export const WINNOW = join(import.meta.dirname, '..', 'bin', 'winnow');
export const IS_ROOT = process.getuid?.() === 0;
const TIME_OUT_MS = 30_000;

/** Shell: programs under LD_LIBRARY_PATH, behind more of an environment than a page; the loader takes the last of several. */
export const LIBRARY_PATHS = [
  'LD_LIBRARY_PATH=/one:/ü env',
  'LD_LIBRARY_PATH= env',
  `python3 -c 'import ctypes; ctypes.CDLL(None).execve(b"/bin/true", (ctypes.c_char_p * 2)(b"true", None), (ctypes.c_char_p * 3)(b"LD_LIBRARY_PATH=/first", b"LD_LIBRARY_PATH=/last", None))'`,
  '/bin/true',
  ':',
].join(' >/dev/null; ');
export const PLAIN_ENV = { PATH: process.env.PATH, A_LONG_ONE: 'x'.repeat(10_000) };

export interface Result extends SpawnSyncReturns<string> {
  readonly store: string;
  /** The newest run of the store; it fails where there is none. */
  readonly run: Run;
}

export interface HowToRecord {
  /** Options of `winnow record`. */
  readonly options?: readonly string[];
  /** Command line in front of `bin/winnow`. */
  readonly through?: readonly string[];
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  /** By default a fresh one. */
  readonly store?: string;
}

export class Scene {
  /** Beside the sources, not in /tmp: files on a tmpfs are left out of profiles. */
  readonly folder = mkdtempSync(join(import.meta.dirname, '.programs-record-'));
  #stores = 0;
  readonly #options: readonly string[];

  /** @param options of every `winnow record`. */
  constructor(...options: readonly string[]) {
    this.#options = options;
    chmodSync(this.folder, 0o755);
  }

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  file(name: string, content: string | Uint8Array, mode = 0o644): string {
    const path = this.path(name);
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  }

  /** A compiled program. */
  c(name: string, source: string, ...flags: readonly string[]): string {
    const path = this.path(name);
    const from = this.file(`${name}.c`, `#define _GNU_SOURCE\n${HEADERS}${source}`);
    execFileSync('gcc', ['-O1', '-w', '-o', path, from, ...flags], { stdio: 'pipe' });
    return path;
  }

  /** A fresh store that belongs to whoever records. */
  newStore(owner?: number): string {
    const store = this.path(`store${this.#stores++}`);
    mkdirSync(store, { mode: 0o700 });
    if (owner !== undefined) execFileSync('chown', [String(owner), store]);
    return store;
  }

  /** Records a command to its end. */
  record(command: readonly string[], how: HowToRecord = {}): Result {
    const store = how.store ?? this.newStore(how.through?.[0] === 'setpriv' ? NOBODY : undefined);
    const words = [
      ...(how.through ?? []),
      ...recordWords(store, command, [...this.#options, ...(how.options ?? [])]),
    ];
    const done = spawnSync(words[0] ?? '', words.slice(1), {
      encoding: 'utf8',
      timeout: TIME_OUT_MS,
      killSignal: 'SIGKILL',
      cwd: how.cwd ?? this.folder,
      ...(how.env === undefined ? {} : { env: how.env }),
      ...(how.input === undefined ? {} : { input: how.input }),
    });
    if (done.error !== undefined) throw done.error;
    return {
      ...done,
      store,
      get run() {
        return newestRun(store, done.stderr);
      },
    };
  }

  /** Records a program to its end, with observers and without arguments and environment, in this process. */
  observe(program: string, ...observers: readonly Observer[]): Recording {
    return record({
      command: { program, argv: [program], cwd: this.folder },
      env: {},
      openFiles: 0,
      ignoredSignals: '0',
      blockedSignals: '0',
      descriptors: [],
      stopAfterMs: undefined,
      filter: true,
      observers,
    });
  }

  /** Starts a recording that goes on. */
  start(command: readonly string[], how: HowToRecord = {}): Started {
    const store = this.newStore();
    const words = [
      ...(how.through ?? []),
      ...recordWords(store, command, [...this.#options, ...(how.options ?? [])]),
    ];
    const child = spawn(words[0] ?? '', words.slice(1), {
      cwd: this.folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(how.env === undefined ? {} : { env: how.env }),
    });
    return new Started(child, store);
  }
}

/** The two ways in which everything is recorded: options, and whether it is from inside the program. */
export const WAYS: readonly { readonly way: string; readonly options: readonly string[] }[] = [
  { way: 'from inside', options: [] },
  { way: 'traced', options: ['--traced'] },
];

export const NOBODY = 65534;
/** In front of a command: as a user without any right. */
export const AS_NOBODY: readonly string[] = IS_ROOT
  ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--']
  : [];

const recordWords = (store: string, command: readonly string[], options: readonly string[] = []) => [
  WINNOW,
  'record',
  '--store',
  store,
  '--name',
  'it',
  ...options,
  ...(command.length === 0 ? [] : ['--', ...command]),
];

function newestRun(store: string, context: string): Run {
  // A store of another user would be refused.
  if (IS_ROOT) execFileSync('chown', ['-R', '0', store]);
  const found = openStore({ store }).read('it').runs[0];
  if (found === undefined) throw new Error(`nothing was recorded: ${context}`);
  return found;
}

/** A recording under way. */
export class Started {
  readonly child: ChildProcess;
  readonly store: string;
  stdout = '';
  stderr = '';
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;

  constructor(child: ChildProcess, store: string) {
    this.child = child;
    this.store = store;
    child.stdout?.on('data', (chunk) => {
      this.stdout += String(chunk);
    });
    child.stderr?.on('data', (chunk) => {
      this.stderr += String(chunk);
    });
    this.ended = new Promise((resolve) => {
      child.on('exit', (code, signal) => resolve({ code, signal }));
    });
  }

  /** Waits for a line that matches on stdout; returns its first group. */
  async saw(pattern: RegExp): Promise<string> {
    await until(
      () => pattern.test(this.stdout),
      () => `${pattern} in ${this.stdout} ${this.stderr}`,
    );
    return pattern.exec(this.stdout)?.[1] ?? '';
  }

  get run(): Run {
    return newestRun(this.store, this.stderr);
  }
}

/** Waits until something is so. */
export async function until(test: () => boolean, what: () => string): Promise<void> {
  for (const end = Date.now() + TIME_OUT_MS; Date.now() < end; await sleep(20)) if (test()) return;
  throw new Error(`it did not come to pass: ${what()}`);
}

export const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Names of the files in a folder of the store, at any depth. */
export const filesIn = (folder: string): string[] => readdirSync(folder, { recursive: true }).map(String);

/** Page numbers that a process, or all of them, used of a file. */
export function pagesOf(run: Run, path: string, how?: UsedPages['how'], process?: UsedProcess): number[] {
  const file = run.files.findIndex((used) => used.path === path);
  const found = new Set<number>();
  for (const { pages } of process === undefined ? run.processes : [process]) {
    for (const used of pages) {
      if (used.file !== file || (how !== undefined && used.how !== how)) continue;
      for (const { page, count } of used.extents) for (let i = 0; i < count; i++) found.add(page + i);
    }
  }
  return [...found].sort((a, b) => a - b);
}

export const processesOf = (run: Run, program: RegExp): UsedProcess[] =>
  run.processes.filter((process) => program.test(process.program));

export const noteCodes = (run: Run): string[] => run.notes.map(({ code }) => code);

const HEADERS = `
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
extern char **environ;
`;
