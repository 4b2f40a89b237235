/** Which functions a command used, module by module: the model behind `winnow report --functions`. */
import type { Command, Profile } from '../profile/model.ts';
import { explainSelect, type SelectExplanation } from '../select/explain.ts';
import type { BuiltSelect } from '../select/model.ts';

/** The version of the JSON form (docs/formats.md). */
export const FUNCTIONS_JSON_VERSION = 1;

export interface FunctionsReport extends SelectExplanation {
  readonly name: string;
  readonly command: Command | undefined;
  /** How many runs saw functions. */
  readonly runs: number;
}

export function functionsReport(profile: Profile, select: BuiltSelect): FunctionsReport {
  return {
    name: profile.name,
    command: profile.runs[0]?.command,
    runs: profile.runs.filter(({ method }) => method.functions === 'seen').length,
    ...explainSelect(select),
  };
}
