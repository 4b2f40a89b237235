/**
 * What signals to winnow itself mean while a program is recorded.
 *
 * winnow and the program share a process group, so the terminal's signals reach both.
 * - SIGTERM, and the time of `--for`: leave the program running now.
 * - SIGINT, SIGHUP: the program decides. One that is still there after GRACE_MS is left running, unless it
 *   has a handler for Ctrl-C and the terminal's foreground: then the key belongs to it (a Python prompt).
 * - SIGQUIT: the program's alone. SIGUSR1 and SIGUSR2: the caller means the program, so it gets them.
 * - SIGTSTP, SIGTTIN, SIGTTOU: winnow must not stop before the program has: somebody has to deliver the
 *   program's signal. When job control has stopped the program, winnow stops itself, so that the shell
 *   sees its job stopped; the shell's SIGCONT reaches both.
 * What the caller ignores (nohup) is ignored here too.
 */
import { readFileSync } from 'node:fs';
import type { Pid } from '../base/brands.ts';
import { hasSignal } from '../sys/caller.ts';
import {
  SIGHUP,
  SIGINT,
  SIGQUIT,
  SIGTERM,
  SIGTSTP,
  SIGTTIN,
  SIGTTOU,
  SIGUSR1,
  SIGUSR2,
} from '../sys/wake.ts';

export const HANDLED: readonly number[] = [
  SIGHUP,
  SIGINT,
  SIGQUIT,
  SIGUSR1,
  SIGUSR2,
  SIGTERM,
  SIGTSTP,
  SIGTTIN,
  SIGTTOU,
];
const SIGSTOP = 19;
const JOB_CONTROL: ReadonlySet<number> = new Set([SIGTSTP, SIGTTIN, SIGTTOU]);
/** A program that a signal ends is gone by then. */
const GRACE_MS = 2000;
/** A handler of SIGTSTP stops its process by SIGSTOP within this time. */
const STOP_MS = 1000;

export class OwnSignals {
  readonly #ignored: string;
  readonly #deadline: number;
  #graceEnds = Number.POSITIVE_INFINITY;
  #stopKeyAt = Number.NEGATIVE_INFINITY;

  constructor(request: { readonly ignoredSignals: string; readonly stopAfterMs: number | undefined }) {
    this.#ignored = request.ignoredSignals;
    this.#deadline = Date.now() + (request.stopAfterMs ?? Number.POSITIVE_INFINITY);
  }

  /** Whether the program is to be left running now. */
  askToLeave(woken: ReadonlySet<number>, program: Pid | undefined): boolean {
    const now = Date.now();
    for (const signal of woken) {
      if (hasSignal(this.#ignored, signal)) continue;
      if (signal === SIGTERM) return true;
      if (signal === SIGTSTP) this.#stopKeyAt = now;
      if (program === undefined) continue;
      if (signal === SIGUSR1 || signal === SIGUSR2) forward(program, signal);
      if ((signal === SIGINT && !ownsInterrupt(program)) || signal === SIGHUP) {
        this.#graceEnds = Math.min(this.#graceEnds, now + GRACE_MS);
      }
    }
    return now >= this.#deadline || now >= this.#graceEnds;
  }

  /** The program is stopped by `signal`. */
  programStopped(signal: number): void {
    const byKey = signal === SIGSTOP && Date.now() - this.#stopKeyAt < STOP_MS;
    if (JOB_CONTROL.has(signal) || byKey) process.kill(process.pid, 'SIGSTOP');
  }
}

function forward(program: Pid, signal: number): void {
  try {
    process.kill(program, signal);
  } catch {
    // It has just ended, or has become another user's.
  }
}

/** Whether the program handles SIGINT and shares the terminal's foreground with us. */
function ownsInterrupt(program: Pid): boolean {
  try {
    const caught = /^SigCgt:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${program}/status`, 'utf8'))?.[1];
    if (caught === undefined || !hasSignal(caught, SIGINT)) return false;
    const [group, foreground] = readGroups(program);
    return group === foreground && group === readGroups('self')[0];
  } catch {
    return false;
  }
}

/** Process group of a process, and the foreground group of its terminal. */
function readGroups(process: Pid | 'self'): [string | undefined, string | undefined] {
  const fields = readFileSync(`/proc/${process}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return [fields[2], fields[5]];
}
