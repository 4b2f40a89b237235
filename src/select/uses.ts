/** What a profile knows of its modules' code. */
import { WinnowError } from '../base/errors.ts';
import { functionsUsed } from '../profile/functions.ts';
import type { Profile } from '../profile/model.ts';
import { workingSet } from '../profile/stats.ts';
import { commandLine } from '../term/text.ts';
import type { ModuleUse } from './model.ts';

export const hasFunctions = (profile: Profile): boolean =>
  profile.runs.some(({ method }) => method.functions === 'seen');

/** In the order of first use. @throws WinnowError E_NO_FUNCTIONS where no run saw functions. */
export function modulesUsed(profile: Profile): ModuleUse[] {
  if (!hasFunctions(profile)) throw noFunctions(profile);
  const touched = new Map(workingSet(profile).files.map(({ path, extents }) => [path, extents]));
  return functionsUsed(profile).files.map(({ path, identity, entries }) => ({
    path,
    identity,
    entered: entries.map(({ entry }) => entry),
    touched: (touched.get(path) ?? []).filter(({ how }) => how === 'mapped'),
  }));
}

function noFunctions({ name, runs }: Profile): WinnowError {
  const command = runs[0] === undefined ? 'CMD' : commandLine(runs[0].command.argv);
  return new WinnowError({
    code: 'E_NO_FUNCTIONS',
    kind: 'input',
    what: 'no run of the profile saw which functions were entered',
    where: name,
    next: `record one that does: winnow record --functions -- ${command}`,
  });
}
