/** What commander says of a command line that it does not understand, as an error like all others. */
import type { Command, CommanderError } from 'commander';
import { usageError, type WinnowError } from '../base/errors.ts';

/** @param words of the command line, behind `winnow`. @returns undefined where the help was printed, which says all. */
export function unknownWords(
  { code, message }: CommanderError,
  program: Command,
  words: readonly string[],
): WinnowError | undefined {
  if (code === 'commander.help') return undefined;
  const [what = '', suggestion] = message
    .replace(/^error: /, '')
    .replace(' is invalid. ', ' is invalid: ')
    .split('\n');
  const help = `\`${commandOf(program, words)} --help\` shows what there is`;
  const meant = suggestion?.replace(/^\(Did you mean (.*)\?\)$/, 'did you mean $1?');
  return usageError(what.replace(/\.$/, ''), meant === undefined ? help : `${meant} ${help}`);
}

/** `winnow image show` of `winnow image show --colour x`. */
function commandOf(program: Command, [first, ...rest]: readonly string[]): string {
  const inner = program.commands.find((command) => command.name() === first);
  return inner === undefined ? program.name() : `${program.name()} ${commandOf(inner, rest)}`;
}
