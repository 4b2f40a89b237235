/** The program could not be executed: what the stub's exit code says. */
import { WinnowError } from '../base/errors.ts';
import { probeProgram } from '../elf/probe.ts';
import { errnoName } from '../sys/libc.ts';

/** @param errno of execve, which is the stub's exit code. */
export function notStarted(program: string, errno: number): WinnowError {
  const missing = errnoName(errno) === 'ENOENT';
  return new WinnowError({
    code: 'E_PROGRAM_START',
    kind: 'input',
    exitCode: 126,
    what: missing
      ? 'the interpreter or loader that the program names is not there'
      : `the kernel refused to execute the program (${errnoName(errno)})`,
    where: missing ? `${program}, which needs ${interpreterOf(program) ?? 'it'}` : program,
    next: missing
      ? 'install it, or correct the first line of the script'
      : 'start it without winnow to see whether it works there',
  });
}

function interpreterOf(program: string): string | undefined {
  const found = probeProgram(program);
  if (found.kind === 'script') return found.interpreter;
  return found.kind === 'elf' ? found.interp : undefined;
}
