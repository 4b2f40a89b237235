/** Every command, in the order of `winnow --help`. */
import type { Command } from 'commander';
import { registerBench } from './commands/bench.ts';
import { registerBuild } from './commands/build.ts';
import { registerDoctor } from './commands/doctor.ts';
import { registerImage } from './commands/image.ts';
import { registerInspect } from './commands/inspect.ts';
import { registerInstall } from './commands/install.ts';
import { registerProfile } from './commands/profile.ts';
import { registerRecord } from './commands/record.ts';
import { registerReport } from './commands/report.ts';
import { registerRun } from './commands/run.ts';
import { registerVerify } from './commands/verify.ts';

export const COMMANDS: readonly ((program: Command) => void)[] = [
  registerRecord,
  registerReport,
  registerBuild,
  registerRun,
  registerVerify,
  registerBench,
  registerInstall,
  registerProfile,
  registerImage,
  registerInspect,
  registerDoctor,
];
