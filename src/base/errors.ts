/**
 * Every error a person can meet: a stable code, what happened, where, and what to do next.
 *
 * The kind decides the exit code of the command (`docs/errors.md`). Only an internal error prints a
 * stack: it is the only kind that is our fault.
 */
export type ErrorKind = 'usage' | 'environment' | 'input' | 'unsupported' | 'internal';

export const EXIT_CODES: Readonly<Record<ErrorKind, number>> = {
  usage: 2,
  environment: 3,
  input: 4,
  unsupported: 5,
  internal: 70,
};

export interface ErrorDetails {
  /** Stable, upper case, begins with `E_`; listed in docs/errors.md. */
  readonly code: string;
  readonly kind: ErrorKind;
  /** One sentence: what is wrong. */
  readonly what: string;
  /** The file, command or place it is about. */
  readonly where?: string;
  /** What the person can do now. */
  readonly next: string;
  /** Where the kind's exit code would mislead: 126 and 127 for programs that cannot be started. */
  readonly exitCode?: number;
  readonly cause?: unknown;
}

export class WinnowError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly what: string;
  readonly where: string | undefined;
  readonly next: string;
  readonly exitCode: number;

  constructor(details: ErrorDetails) {
    super(`${details.code}: ${details.what}`, { cause: details.cause });
    this.name = 'WinnowError';
    this.code = details.code;
    this.kind = details.kind;
    this.what = details.what;
    this.where = details.where;
    this.next = details.next;
    this.exitCode = details.exitCode ?? EXIT_CODES[details.kind];
  }
}

/** The words of a command line do not go together. */
export const usageError = (what: string, next: string, where?: string): WinnowError =>
  new WinnowError({ code: 'E_USAGE', kind: 'usage', what, next, ...(where === undefined ? {} : { where }) });

/** The lines a person reads on stderr. */
export function describeError(error: WinnowError): string {
  const where = error.where === undefined ? '' : `\n  where: ${error.where}`;
  return `winnow: ${error.code}: ${error.what}${where}\n  next:  ${error.next}\n`;
}

/** The errno name of a failed Node file-system call, or undefined; our own errors have codes, no errno. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof WinnowError) return undefined;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/** What `explain` makes of a failed system call's errno; every other error comes back as it is. */
export function explainErrno(error: unknown, explain: (errno: string) => WinnowError): unknown {
  const errno = errnoOf(error);
  return errno === undefined ? error : explain(errno);
}
