/** Every command, in the order of `winnow --help`. */
import type { Command } from 'commander';
import { registerInspect } from './commands/inspect.ts';
import { registerRecord } from './commands/record.ts';

export const COMMANDS: readonly ((program: Command) => void)[] = [registerRecord, registerInspect];
