/**
 * Output that nobody takes: a reader that has gone (`winnow report | head -1`), a full disk, a terminal that was
 * closed. Node's own answer is a stack and exit code 1.
 */
import { describeError, errnoOf, WinnowError } from '../base/errors.ts';

/** What a shell says of a program that SIGPIPE ended, as it ends most programs whose reader has gone. */
const READER_GONE = 141;

let isGuarded = false;

/**
 * Decides what becomes of this process where its stdout cannot be written: its work is done to the end, nothing is
 * said where the reader has gone, and the exit code tells. What cannot be written to stderr is lost.
 *
 * Not for commands that run a program in this terminal: Node sets pipes that it opens as a stream to non-blocking,
 * for the program too.
 */
export function guardStreams(): void {
  if (isGuarded) return;
  isGuarded = true;
  let exitCode: number | undefined;
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (error) => {
    if (exitCode !== undefined) return;
    const failure = outputFailure(error);
    exitCode = failure?.exitCode ?? READER_GONE;
    if (failure !== undefined) process.stderr.write(describeError(failure));
  });
  // The command may set its own after this.
  process.on('exit', () => {
    if (exitCode !== undefined) process.exitCode = exitCode;
  });
}

/** Undefined where nobody wants to read on. */
function outputFailure(error: Error): WinnowError | undefined {
  const errno = errnoOf(error);
  if (errno === 'EPIPE') return undefined;
  return new WinnowError({
    code: 'E_OUTPUT',
    kind: 'environment',
    what: `the output cannot be written: ${errno ?? error.message}`,
    where: 'stdout',
    next: 'make room, or write it somewhere else',
    cause: error,
  });
}
