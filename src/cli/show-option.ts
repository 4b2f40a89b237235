/** `--show HOW`: how a program is shown rewritten modules. */
import type { Command } from 'commander';
import { usageError } from '../base/errors.ts';
import { SHOW_MODES } from '../image/modules-layout.ts';
import type { ShowMode } from '../image/modules-model.ts';

/** The launcher takes this variable out of the environment. */
export const SHOW_VARIABLE = 'WINNOW_SHOW';

export interface ShowOption {
  readonly show?: string;
}

export function addShowOption(command: Command): Command {
  return command.option('--show <how>', `how rewritten modules are shown: ${SHOW_MODES.join(', ')}`);
}

/** @throws WinnowError E_USAGE */
export function showMode({ show }: ShowOption): ShowMode | undefined {
  if (show === undefined) return undefined;
  const known = SHOW_MODES.find((mode) => mode === show);
  if (known !== undefined) return known;
  throw usageError(`'${show}' is no way to show modules`, `give one of ${SHOW_MODES.join(', ')}`);
}
