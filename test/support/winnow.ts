/** The command line as a person runs it. Needs dist/ (npm run build). */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

export const WINNOW = join(import.meta.dirname, '..', '..', 'bin', 'winnow');

export interface Ran {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What stands on stdin; /dev/null where it is not given. */
  readonly input?: string | undefined;
  /** Where more is done than most commands do. */
  readonly timeout?: number;
}

/** A hang fails the test that it is in, and leaves the others their turn. */
const LONGEST_MS = 20_000;

/** Runs `winnow WORDS…`. */
export function runWinnow(words: readonly string[], { input, ...options }: RunOptions = {}): Ran {
  const done = spawnSync(WINNOW, words, {
    encoding: 'utf8',
    timeout: LONGEST_MS,
    killSignal: 'SIGKILL',
    ...(input === undefined ? { stdio: ['ignore', 'pipe', 'pipe'] } : { input }),
    ...options,
  });
  return { status: done.status, signal: done.signal, stdout: done.stdout, stderr: done.stderr };
}

/** A command line with a store of its own: `on('image list', …)` is `winnow image list --store STORE …`. */
export const winnowOn =
  (store: string) =>
  (command: string, words: readonly string[] = [], options: RunOptions = {}): Ran =>
    runWinnow([...command.split(' '), '--store', store, ...words], options);

/** The first error code on stderr. */
export const codeOf = (ran: Ran): string | undefined => /^winnow: (E_\w+): /m.exec(ran.stderr)?.[1];
