/** wait4(2) for a tracer: one blocking call, decoded. */
import { type Tid, tid } from '../base/brands.ts';
import { lastErrno, libc } from './libc.ts';

const WNOHANG = 1;
const WUNTRACED = 2;
const __WALL = 0x40000000;
const SIGTRAP = 5;
const SYSCALL_BIT = 0x80;

export type WaitEvent =
  | { readonly kind: 'exited'; readonly tid: Tid; readonly code: number }
  | { readonly kind: 'killed'; readonly tid: Tid; readonly signal: number }
  /** PTRACE_EVENT_* other than a stop. */
  | { readonly kind: 'event'; readonly tid: Tid; readonly event: number }
  /** PTRACE_EVENT_STOP: an interrupt (SIGTRAP), or a group-stop by that signal. */
  | { readonly kind: 'stop'; readonly tid: Tid; readonly signal: number }
  | { readonly kind: 'syscall'; readonly tid: Tid }
  /** About to be delivered; the tracer decides. */
  | { readonly kind: 'signal'; readonly tid: Tid; readonly signal: number };

const waitpid = libc.func('int waitpid(int pid, void *status, int options)');
const statusBuffer = Buffer.alloc(4);

function decode(found: Tid, status: number): WaitEvent {
  const low = status & 0x7f;
  if (low === 0) return { kind: 'exited', tid: found, code: (status >> 8) & 0xff };
  if (low !== 0x7f) return { kind: 'killed', tid: found, signal: low };
  const signal = (status >> 8) & 0xff;
  const event = (status >> 16) & 0xff;
  if (event === 128) return { kind: 'stop', tid: found, signal };
  if (event !== 0) return { kind: 'event', tid: found, event };
  if (signal === (SIGTRAP | SYSCALL_BIT)) return { kind: 'syscall', tid: found };
  return { kind: 'signal', tid: found, signal };
}

export type WaitResult = WaitEvent | 'interrupted' | 'no-children' | 'nothing-yet';

function wait(who: number, options: number): WaitResult {
  const found = waitpid(who, statusBuffer, __WALL | options);
  if (found === 0) return 'nothing-yet';
  if (found > 0) return decode(tid(found), statusBuffer.readInt32LE());
  const errno = lastErrno();
  if (errno === 'EINTR') return 'interrupted';
  if (errno === 'ECHILD') return 'no-children';
  throw new Error(`waitpid: ${errno}`);
}

/** The next event of one tracee; blocks. `interrupted` after a signal without SA_RESTART. */
export const waitFor = (who: Tid): WaitResult => wait(who, 0);
/** The next event of any tracee if there is one already. */
export const pollAny = (): WaitResult => wait(-1, WNOHANG);
/** The next end or stop of any child, none of them traced; a stop comes as `signal`. */
export const pollChild = (): WaitResult => wait(-1, WNOHANG | WUNTRACED);
