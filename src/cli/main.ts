/** The command line: one file a command in `commands/`; heavy rooms are imported when a command runs. */
import { Command, CommanderError } from 'commander';
import { describeError, EXIT_CODES, WinnowError } from '../base/errors.ts';
import { COMMANDS } from './commands.ts';
import { requireNode } from './node-version.ts';
import { explained } from './own-failure.ts';
import { guardStreams } from './streams.ts';
import { unknownWords } from './unknown-words.ts';

/** Their programs have the terminal. */
const RUN_PROGRAMS: readonly string[] = ['record', 'run'];

const program = new Command('winnow')
  .description('Record a Linux program once; from then on load only what it uses.')
  .version('0.1.0')
  .enablePositionalOptions()
  .exitOverride()
  .configureOutput({
    writeOut: (text) => {
      guardStreams();
      process.stdout.write(text);
    },
    writeErr: (text) => {
      guardStreams();
      process.stderr.write(text);
    },
    // Told by report().
    outputError: () => undefined,
  })
  .hook('preAction', (_program, command) => {
    if (!RUN_PROGRAMS.includes(command.name())) guardStreams();
  })
  .addHelpText('after', '\nExit codes and error codes: docs/errors.md');

for (const register of COMMANDS) register(program);

try {
  requireNode();
  await program.parseAsync(process.argv);
} catch (error) {
  process.exitCode = report(explained(error));
}

function report(error: unknown): number {
  guardStreams();
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    const unknown = unknownWords(error, program, process.argv.slice(2));
    if (unknown !== undefined) process.stderr.write(describeError(unknown));
    return EXIT_CODES.usage;
  }
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
