/** Every command, in the order of `winnow --help`. */
import type { Command } from 'commander';
import { registerInspect } from './commands/inspect.ts';
import { registerProfile } from './commands/profile.ts';
import { registerRecord } from './commands/record.ts';
import { registerReport } from './commands/report.ts';

export const COMMANDS: readonly ((program: Command) => void)[] = [
  registerRecord,
  registerReport,
  registerProfile,
  registerInspect,
];
