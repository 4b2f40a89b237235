/** Which profile a person means: by name, by command, or the newest. */
import { usageError, WinnowError } from '../base/errors.ts';
import type { Profile } from '../profile/model.ts';
import type { Store } from '../profile/store.ts';
import { resolveProgram } from '../record/resolve.ts';
import { commandLine } from '../term/text.ts';
import type { Operands } from './options.ts';

const unclear = (what: string): WinnowError =>
  usageError(what, 'give one NAME, or a command behind two dashes: -- CMD');

/** @throws WinnowError E_USAGE, E_NO_PROFILE, E_BAD_NAME, E_PROGRAM_NOT_FOUND */
export function selectProfile(store: Store, { before, command }: Operands): Profile {
  const [name, ...more] = before;
  if (more.length > 0) throw unclear(`more than one name is given: ${before.join(' ')}`);
  if (command !== undefined && name !== undefined) throw unclear('both a name and a command are given');
  if (name !== undefined) return store.read(name);
  if (command === undefined) return store.newest();
  const [typed] = command;
  if (typed === undefined) throw unclear('no command follows the two dashes');
  const cwd = process.cwd();
  const program = resolveProgram(typed, cwd, process.env.PATH);
  const found = store.findByCommand({ program, argv: command, cwd });
  if (found.profile !== undefined) return found.profile;
  throw new WinnowError({
    code: 'E_NO_PROFILE',
    kind: 'input',
    what: 'this command has not been recorded',
    where: commandLine(command),
    next: `record it: winnow record -- ${commandLine(command)}`,
  });
}
