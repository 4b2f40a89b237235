/** Every command, in the order of `winnow --help`. */
import type { Command } from 'commander';

export const COMMANDS: readonly ((program: Command) => void)[] = [];
