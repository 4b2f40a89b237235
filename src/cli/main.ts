/** The command line: one file a command in `commands/`; heavy rooms are imported when a command runs. */
import { Command, CommanderError } from 'commander';
import { describeError, EXIT_CODES, WinnowError } from '../base/errors.ts';
import { COMMANDS } from './commands.ts';

const program = new Command('winnow')
  .description('Record a Linux program once; from then on load only what it uses.')
  .version('0.1.0')
  .enablePositionalOptions()
  .exitOverride()
  .addHelpText('after', '\nExit codes and error codes: docs/errors.md');

for (const register of COMMANDS) register(program);

try {
  await program.parseAsync(process.argv);
} catch (error) {
  process.exitCode = report(error);
}

function report(error: unknown): number {
  // Commander has printed its own message already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODES.usage;
  if (error instanceof WinnowError) {
    process.stderr.write(describeError(error));
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(
    `winnow: E_INTERNAL: ${text}\n  next:  this is a fault of winnow: report it with the lines above\n`,
  );
  return EXIT_CODES.internal;
}
